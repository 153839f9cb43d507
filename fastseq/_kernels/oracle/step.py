"""One time step of a whole network."""

import numpy as np

from .cells import gru_forward, lstm_forward, rnn_forward
from .products import matmul

RNN_TANH, RNN_RELU, LSTM, GRU = range(4)
GATES = (1, 1, 4, 3)  # G of each


def packed_length(w):
    """Numbers in the form in which a build keeps w (N, K) for many products x @ wᵀ.

    That form is each build's own; the oracle's is the matrix, row by row.
    """
    return w.size


def pack_weight(w, packed):
    """Bring w into that form.

    Parameters
    ----------
    w : (N, K)
    packed : (packed_length(w),) OUT
    """
    packed[:] = w.reshape(-1)


def stack_step(cell, x, packed, bias, b_hn, h, c):
    """Feed one time step to L layers and replace their states.

    Parameters
    ----------
    cell : int
        0 tanh RNN, 1 relu RNN, 2 LSTM, 3 GRU.
    x : (B, I)
    packed : vector
        What `pack_weight` made of the first layer's w_ih (G·H, I), the other layers' w_ih
        (G·H, P), all w_hh (G·H, P), and with a projection all w_hr (P, H), in this order.
    bias : (L, G·H)
        b_ih + b_hh; of the GRU's n only b_ih.
    b_hn : (L, H) or None
        The GRU's recurrent bias of n.
    h : (L, B, P) INOUT
    c : (L, B, H) INOUT, or None unless an LSTM
    """
    L, P, width = h.shape[0], h.shape[2], bias.shape[1]
    H = width // GATES[cell]
    shapes = [(width, x.shape[1])] + [(width, P)] * (2 * L - 1) + [(P, H)] * (L if P < H else 0)
    weights, start = [], 0
    for N, K in shapes:
        weights.append(packed[start : start + N * K].reshape(N, K))
        start += N * K
    gates = np.zeros((x.shape[0], width), x.dtype)
    matmul(x, weights[0].T, gates, bias[0], False)
    w_ih, w_hh, w_hr = weights[1:L], weights[L : 2 * L], weights[2 * L :] or None
    advance(cell, gates, w_ih, bias[1:], w_hh, b_hn, w_hr, h, c)


def advance(cell, x, w_ih, bias, w_hh, b_hn, w_hr, h, c):
    """One step, given what the input sends to the first layer's gates; returns the output."""
    for layer in range(len(w_hh)):
        if layer:
            below, x = h[layer - 1], np.zeros((h.shape[1], w_ih[0].shape[0]), x.dtype)
            matmul(below, w_ih[layer - 1].T, x, bias[layer - 1], False)
        gates = x[None].copy()
        states = np.stack([h[layer], h[layer]])
        if cell == LSTM:
            cells = np.stack([c[layer], c[layer]])
            project = None if w_hr is None else w_hr[layer]
            outputs = None if w_hr is None else np.zeros_like(cells[:1])
            lstm_forward(gates, w_hh[layer], project, states, cells, outputs, None, False)
            c[layer] = cells[1]
        elif cell == GRU:
            inner = None if b_hn is None else b_hn[layer]
            gru_forward(gates, w_hh[layer], inner, states, np.zeros_like(h[:1, :, :]), None, False)
        else:
            rnn_forward(gates, w_hh[layer], states, None, False, cell == RNN_RELU)
        h[layer] = states[1]
    return h[-1]
