"""RNN, LSTM and GRU through time, forward and backward (see the package for the notation).

A backward line carries the number of the forward line that it inverts.
"""

import math

from ._math import mat_vec, sigmoid, vec_mat


def _steps(gates, lengths, reverse):
    """Yield (t, before, after, active): a step, its two state slots, the rows that take part."""
    T, B = gates.shape[:2]
    limits = [T] * B if lengths is None else lengths.tolist()
    for s in range(T):
        t = T - 1 - s if reverse else s
        before, after = (t + 1, t) if reverse else (t, t + 1)
        yield t, before, after, [t < limit for limit in limits]


def _write(*pairs):
    """Write nested lists into arrays; the lists of an empty array have lost its shape."""
    for array, values in pairs:
        if array.size:
            array[...] = values


def _add(u, v):
    return [a + b for a, b in zip(u, v, strict=True)]


def rnn_forward(gates, w_hh, h, lengths, reverse, relu):
    """h[t] = f(gates[t] + h[t−1] @ w_hhᵀ), f = tanh or relu [1].

    Parameters
    ----------
    gates : (T, B, H)
    w_hh : (H, H)
    h : (T+1, B, H) INOUT
    lengths : (B,) int64 or None
    reverse, relu : bool
    """
    x, w, s = gates.tolist(), w_hh.tolist(), h.tolist()
    for t, before, after, active in _steps(gates, lengths, reverse):
        for b, on in enumerate(active):
            if not on:
                s[after][b] = s[before][b]
                continue
            a = _add(x[t][b], mat_vec(w, s[before][b]))  # (1)
            s[after][b] = [max(v, 0.0) if relu else math.tanh(v) for v in a]  # (2)
    _write((h, s))


def rnn_backward(gates, w_hh, h, dy, dh, lengths, reverse, relu):
    """Gradients of `rnn_forward` [6].

    Parameters
    ----------
    gates : (T, B, H) OUT
        d loss / d gates.
    w_hh : (H, H)
    h : (T+1, B, H)
    dy : (T, B, H)
        d loss / d h[t] from outside the recurrence.
    dh : (B, H) INOUT
        d loss / d final state in, d loss / d initial state out.
    """
    w, s, dy_, carry = w_hh.tolist(), h.tolist(), dy.tolist(), dh.tolist()
    out = [[[0.0] * len(w) for _ in row] for row in dy_]
    for t, _, after, active in reversed(list(_steps(gates, lengths, reverse))):
        for b, on in enumerate(active):
            if not on:
                continue
            total = _add(dy_[t][b], carry[b])
            y = s[after][b]
            out[t][b] = [  # inverts (2)
                d * (1.0 if v > 0 else 0.0) if relu else d * (1.0 - v * v)
                for d, v in zip(total, y, strict=True)
            ]
            carry[b] = vec_mat(out[t][b], w)  # inverts (1)
    _write((gates, out), (dh, carry))


def lstm_forward(gates, w_hh, w_hr, h, c, m, lengths, reverse):
    """Long short-term memory with forget gate [2]_ [3]_ and optional projection [4]_.

    Parameters
    ----------
    gates : (T, B, 4H) INOUT
        Pre-activations in, activated i, f, g, o out.
    w_hh : (4H, P)
    w_hr : (P, H) or None
        Projection; None means that h is m and P = H.
    h : (T+1, B, P) INOUT
    c : (T+1, B, H) INOUT
    m : (T, B, H) OUT or None
        o · tanh(c), kept only where there is a projection.
    """
    H = w_hh.shape[0] // 4
    x, w, s, cell = gates.tolist(), w_hh.tolist(), h.tolist(), c.tolist()
    project = None if w_hr is None else w_hr.tolist()
    for t, before, after, active in _steps(gates, lengths, reverse):
        for b, on in enumerate(active):
            if not on:
                s[after][b], cell[after][b] = s[before][b], cell[before][b]
                continue
            a = _add(x[t][b], mat_vec(w, s[before][b]))  # (1)
            i = [sigmoid(v) for v in a[:H]]  # (2)
            f = [sigmoid(v) for v in a[H : 2 * H]]  # (3)
            g = [math.tanh(v) for v in a[2 * H : 3 * H]]  # (4)
            o = [sigmoid(v) for v in a[3 * H :]]  # (5)
            x[t][b] = i + f + g + o
            cell[after][b] = [  # (6)
                f[j] * cell[before][b][j] + i[j] * g[j] for j in range(H)
            ]
            out = [o[j] * math.tanh(cell[after][b][j]) for j in range(H)]  # (7)
            if project is not None:
                m[t, b] = out
                out = mat_vec(project, out)  # (8)
            s[after][b] = out
    _write((gates, x), (h, s), (c, cell))


def lstm_backward(gates, w_hh, w_hr, c, dy, dh, dc, lengths, reverse):
    """Gradients of `lstm_forward`.

    Parameters
    ----------
    gates : (T, B, 4H) INOUT
        Activated gates in, d loss / d pre-activations out.
    w_hh : (4H, P)
    w_hr : (P, H) or None
    c : (T+1, B, H)
    dy : (T, B, P) INOUT
        d loss / d h[t] from outside; with a projection it leaves as the whole gradient that
        reached h[t], from which d w_hr = Σₜ dy[t]ᵀ @ m[t].
    dh : (B, P) INOUT
    dc : (B, H) INOUT
        Gradients of the final state in, of the initial state out.
    """
    H = w_hh.shape[0] // 4
    act, w, cell, dy_ = gates.tolist(), w_hh.tolist(), c.tolist(), dy.tolist()
    dh_, dc_ = dh.tolist(), dc.tolist()
    project = None if w_hr is None else w_hr.tolist()
    for t, before, after, active in reversed(list(_steps(gates, lengths, reverse))):
        for b, on in enumerate(active):
            if not on:
                act[t][b] = [0.0] * (4 * H)
                dy_[t][b] = [0.0] * len(dy_[t][b])
                continue
            total = _add(dy_[t][b], dh_[b])
            dm = total
            if project is not None:
                dy_[t][b], dm = total, vec_mat(total, project)  # inverts (8)
            row = act[t][b]
            i, f, g, o = (row[k * H : (k + 1) * H] for k in range(4))
            da = [0.0] * (4 * H)
            for j in range(H):
                tanh_c = math.tanh(cell[after][b][j])
                do = dm[j] * tanh_c  # inverts (7)
                d = dc_[b][j] + dm[j] * o[j] * (1.0 - tanh_c * tanh_c)  # inverts (7)
                di, df, dg = d * g[j], d * cell[before][b][j], d * i[j]  # inverts (6)
                dc_[b][j] = d * f[j]  # inverts (6)
                da[j] = di * i[j] * (1.0 - i[j])  # inverts (2)
                da[H + j] = df * f[j] * (1.0 - f[j])  # inverts (3)
                da[2 * H + j] = dg * (1.0 - g[j] * g[j])  # inverts (4)
                da[3 * H + j] = do * o[j] * (1.0 - o[j])  # inverts (5)
            act[t][b] = da
            dh_[b] = vec_mat(da, w)  # inverts (1)
    _write((gates, act), (dh, dh_), (dc, dc_))
    if project is not None:
        _write((dy, dy_))


def gru_forward(gates, w_hh, b_hn, h, hn, lengths, reverse):
    """Gated recurrent unit [5], in the variant that resets after the product.

    Parameters
    ----------
    gates : (T, B, 3H) INOUT
        Pre-activations in (b_hh of r and z included, of n not), activated r, z, n out.
    w_hh : (3H, H)
    b_hn : (H,) or None
        Recurrent bias of n, which stands inside the reset.
    h : (T+1, B, H) INOUT
    hn : (T, B, H) OUT
        h[t−1] @ w_hnᵀ + b_hn.
    """
    H = w_hh.shape[1]
    x, w, s, hn_ = gates.tolist(), w_hh.tolist(), h.tolist(), hn.tolist()
    bias = [0.0] * H if b_hn is None else b_hn.tolist()
    for t, before, after, active in _steps(gates, lengths, reverse):
        for b, on in enumerate(active):
            if not on:
                s[after][b] = s[before][b]
                continue
            a, prev, product = x[t][b], s[before][b], mat_vec(w, s[before][b])  # (1)
            r = [sigmoid(a[j] + product[j]) for j in range(H)]  # (2)
            z = [sigmoid(a[H + j] + product[H + j]) for j in range(H)]  # (3)
            hn_[t][b] = _add(product[2 * H :], bias)  # (4)
            n = [math.tanh(a[2 * H + j] + r[j] * hn_[t][b][j]) for j in range(H)]  # (5)
            s[after][b] = [n[j] + z[j] * (prev[j] - n[j]) for j in range(H)]  # (6)
            x[t][b] = r + z + n
    _write((gates, x), (h, s), (hn, hn_))


def gru_backward(gates, w_hh, h, hn, dy, dh, lengths, reverse):
    """Gradients of `gru_forward`.

    Parameters
    ----------
    gates : (T, B, 3H) INOUT
        Activated r, z, n in, d loss / d pre-activations out.
    w_hh : (3H, H)
    h : (T+1, B, H)
    hn : (T, B, H) INOUT
        As `gru_forward` left it in, d loss / d hn out.
    dy : (T, B, H)
    dh : (B, H) INOUT
    """
    H = w_hh.shape[1]
    act, w, s, hn_ = gates.tolist(), w_hh.tolist(), h.tolist(), hn.tolist()
    dy_, dh_ = dy.tolist(), dh.tolist()
    for t, before, _, active in reversed(list(_steps(gates, lengths, reverse))):
        for b, on in enumerate(active):
            if not on:
                act[t][b], hn_[t][b] = [0.0] * (3 * H), [0.0] * H
                continue
            total, prev = _add(dy_[t][b], dh_[b]), s[before][b]
            da, keep = [0.0] * (3 * H), [0.0] * H
            for j in range(H):
                r, z, n = act[t][b][j], act[t][b][H + j], act[t][b][2 * H + j]
                dn = total[j] * (1.0 - z)  # inverts (6)
                dz = total[j] * (prev[j] - n)  # inverts (6)
                keep[j] = total[j] * z  # inverts (6)
                da[2 * H + j] = dn * (1.0 - n * n)  # inverts (5)
                dr = da[2 * H + j] * hn_[t][b][j]  # inverts (5)
                hn_[t][b][j] = da[2 * H + j] * r  # inverts (5)
                da[H + j] = dz * z * (1.0 - z)  # inverts (3)
                da[j] = dr * r * (1.0 - r)  # inverts (2)
            act[t][b] = da
            dh_[b] = _add(keep, vec_mat(da[: 2 * H] + hn_[t][b], w))  # inverts (1), (4)
    _write((gates, act), (hn, hn_), (dh, dh_))
