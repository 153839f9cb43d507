"""One layer in one direction over any build: every output and every gradient of a case."""

from types import SimpleNamespace

import numpy as np
from compare import frozen


def each_array(function, arrays):
    """The arrays of a case, each replaced by function(array)."""
    return SimpleNamespace(**{name: function(a) for name, a in vars(arrays).items()})


def forward(k, case, a):
    """Run the layer; what no kernel has written is NaN.

    Returns
    -------
    SimpleNamespace
        gates, h, and where the cell has them c, m, hn, else None.
    """
    T, B, H, P, dtype = case.T, case.B, case.H, case.P, a.x.dtype
    gates = np.full((T, B, case.width), np.nan, dtype)
    rows = gates.reshape(T * B, case.width)
    k.matmul(a.x.reshape(T * B, case.I), a.w_ih.T, rows, a.bias, False)
    start = -1 if case.reverse else 0
    h = np.full((T + 1, B, P), np.nan, dtype)
    h[start] = a.h0
    c = m = hn = None
    if case.cell == "lstm":
        c = np.full((T + 1, B, H), np.nan, dtype)
        c[start] = a.c0
        # Steps past the end of a row stay as they are and are multiplied by 0 later.
        m = None if a.w_hr is None else np.zeros((T, B, H), dtype)
        k.lstm_forward(gates, a.w_hh, a.w_hr, h, c, m, a.lengths, case.reverse)
    elif case.cell == "gru":
        hn = np.full((T, B, H), np.nan, dtype)
        k.gru_forward(gates, a.w_hh, a.b_hn, h, hn, a.lengths, case.reverse)
    else:
        k.rnn_forward(gates, a.w_hh, h, a.lengths, case.reverse, case.cell == "rnn_relu")
    return SimpleNamespace(gates=gates, h=h, c=c, m=m, hn=hn)


def outputs(case, states):
    """(T, B, P): the states after each step."""
    return states.h[:-1] if case.reverse else states.h[1:]


def final(case, states):
    """h and c after the last step; c is None unless the cell is an LSTM."""
    end = 0 if case.reverse else -1
    return states.h[end], None if states.c is None else states.c[end]


def backward(k, case, a, states):
    """Gradients of Σ dy·y (active steps) + Σ dh·h_end + Σ dc·c_end.

    Returns
    -------
    dict of str to ndarray
        "gates" and every input of the case by its name, where the case has it.
    """
    dgates = np.full_like(states.gates, np.nan)  # rnn_backward only writes it
    hn = None if states.hn is None else states.hn.copy()
    dy, dh = a.dy, a.dh.copy()
    dc = None if a.dc is None else a.dc.copy()
    if case.cell == "lstm":
        dgates, dy = states.gates.copy(), a.dy.copy()
        k.lstm_backward(
            dgates, a.w_hh, a.w_hr, frozen(states.c), dy, dh, dc, a.lengths, case.reverse
        )
    elif case.cell == "gru":
        dgates = states.gates.copy()
        k.gru_backward(dgates, a.w_hh, frozen(states.h), hn, dy, dh, a.lengths, case.reverse)
    else:
        relu = case.cell == "rnn_relu"
        k.rnn_backward(dgates, a.w_hh, frozen(states.h), dy, dh, a.lengths, case.reverse, relu)
    gradients = {"gates": dgates, "h0": dh, "dy": dy}
    if dc is not None:
        gradients["c0"] = dc
    return gradients | _products(k, case, a, states, dgates, hn, dy)


def _products(k, case, a, states, dgates, hn, dy):
    """The gradients of the parameters and of x: products over all steps at once."""
    n = case.T * case.B
    rows, x = dgates.reshape(n, case.width), a.x.reshape(n, case.I)
    before = (states.h[1:] if case.reverse else states.h[:-1]).reshape(n, case.P)
    d = {name: _like(getattr(a, name)) for name in ("x", "w_ih", "w_hh")}
    k.matmul(rows, a.w_ih, d["x"].reshape(n, case.I), None, False)
    k.matmul(rows.T, x, d["w_ih"], None, False)
    inner = rows[:, : 2 * case.H] if hn is not None else rows
    k.matmul(inner.T, before, d["w_hh"][: inner.shape[1]], None, False)
    if hn is not None:  # n's recurrent product stands inside the reset gate
        d["hn"] = hn
        k.matmul(hn.reshape(n, case.H).T, before, d["w_hh"][2 * case.H :], None, False)
    if a.bias is not None:
        d["bias"] = np.zeros_like(a.bias)
        k.sum_rows(rows, d["bias"])
    if a.b_hn is not None:
        d["b_hn"] = np.zeros_like(a.b_hn)
        k.sum_rows(hn.reshape(n, case.H), d["b_hn"])
    if a.w_hr is not None:
        d["w_hr"] = _like(a.w_hr)
        m = states.m.reshape(n, case.H)
        k.matmul(dy.reshape(n, case.P).T, m, d["w_hr"], None, False)
    return d


def _like(a):
    return np.full(a.shape, np.nan, a.dtype)
