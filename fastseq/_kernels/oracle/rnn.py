"""Elman's network [1]_: h[t] = f(x[t] @ w_ihᵀ + h[t−1] @ w_hhᵀ + b), f = tanh or relu."""

import math


def rnn_tanh_forward(a, product, h_prev, c_prev, H):
    """One row of one step; see `recurrence.POINTWISE` for arguments and results."""
    h = [math.tanh(v) for v in a]  # (2)
    return a, h, None, None


def rnn_tanh_backward(a, h, h_prev, c_prev, c, inner, dh, dc):
    da = [d * (1.0 - v * v) for d, v in zip(dh, h, strict=True)]  # inverts (2)
    return da, da, None, [0.0] * len(dh), None


def rnn_relu_forward(a, product, h_prev, c_prev, H):
    h = [max(v, 0.0) for v in a]  # (2)
    return a, h, None, None


def rnn_relu_backward(a, h, h_prev, c_prev, c, inner, dh, dc):
    da = [d if v > 0 else 0.0 for d, v in zip(dh, h, strict=True)]  # inverts (2)
    return da, da, None, [0.0] * len(dh), None
