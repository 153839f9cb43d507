"""Long short-term memory [2]_ with forget gate [3]_."""

import math

from ._math import sigmoid


def lstm_forward(a, product, h_prev, c_prev, H):
    """One row of one step; see `recurrence.POINTWISE` for arguments and results."""
    i = [sigmoid(v) for v in a[:H]]  # (2)
    f = [sigmoid(v) for v in a[H : 2 * H]]  # (3)
    g = [math.tanh(v) for v in a[2 * H : 3 * H]]  # (4)
    o = [sigmoid(v) for v in a[3 * H :]]  # (5)
    c = [f[j] * c_prev[j] + i[j] * g[j] for j in range(H)]  # (6)
    h = [o[j] * math.tanh(c[j]) for j in range(H)]  # (7)
    return i + f + g + o, h, c, None


def lstm_backward(gates, h, h_prev, c_prev, c, inner, dh, dc):
    H = len(c)
    i, f, g, o = (gates[k * H : (k + 1) * H] for k in range(4))
    da, dc_prev = [0.0] * (4 * H), [0.0] * H
    for j in range(H):
        tanh_c = math.tanh(c[j])
        do = dh[j] * tanh_c  # inverts (7)
        d = dc[j] + dh[j] * o[j] * (1.0 - tanh_c * tanh_c)  # inverts (7)
        di, df, dg = d * g[j], d * c_prev[j], d * i[j]  # inverts (6)
        dc_prev[j] = d * f[j]  # inverts (6)
        da[j] = di * i[j] * (1.0 - i[j])  # inverts (2)
        da[H + j] = df * f[j] * (1.0 - f[j])  # inverts (3)
        da[2 * H + j] = dg * (1.0 - g[j] * g[j])  # inverts (4)
        da[3 * H + j] = do * o[j] * (1.0 - o[j])  # inverts (5)
    return da, da, None, [0.0] * H, dc_prev
