"""Gated recurrent unit [5]_, in the variant that resets after the product."""

import math

from ._math import sigmoid


def gru_forward(a, product, h_prev, c_prev, H):
    """One row of one step; see `recurrence.POINTWISE` for arguments and results.

    The bias of n's recurrent product is part of `product`: (4).
    """
    n_hidden = product[2 * H :]
    r = [sigmoid(a[j] + product[j]) for j in range(H)]  # (2)
    z = [sigmoid(a[H + j] + product[H + j]) for j in range(H)]  # (3)
    n = [math.tanh(a[2 * H + j] + r[j] * n_hidden[j]) for j in range(H)]  # (5)
    h = [n[j] + z[j] * (h_prev[j] - n[j]) for j in range(H)]  # (6)
    return r + z + n, h, None, n_hidden


def gru_backward(gates, h, h_prev, c_prev, c, n_hidden, dh, dc):
    H = len(h)
    da, dn_hidden, dh_prev = [0.0] * (3 * H), [0.0] * H, [0.0] * H
    for j in range(H):
        r, z, n = gates[j], gates[H + j], gates[2 * H + j]
        dn = dh[j] * (1.0 - z)  # inverts (6)
        dz = dh[j] * (h_prev[j] - n)  # inverts (6)
        dh_prev[j] = dh[j] * z  # inverts (6)
        da[2 * H + j] = dn * (1.0 - n * n)  # inverts (5)
        dr = da[2 * H + j] * n_hidden[j]  # inverts (5)
        dn_hidden[j] = da[2 * H + j] * r  # inverts (5)
        da[H + j] = dz * z * (1.0 - z)  # inverts (3)
        da[j] = dr * r * (1.0 - r)  # inverts (2)
    return da, da[: 2 * H] + dn_hidden, dn_hidden, dh_prev, None
