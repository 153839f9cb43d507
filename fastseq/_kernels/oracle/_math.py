"""Scalar functions and small vector helpers of the oracle."""

import math

import numpy as np


def sigmoid(a):
    """1 / (1 + e⁻ᵃ), written so that the exponential never overflows."""
    if a >= 0:
        return 1.0 / (1.0 + math.exp(-a))
    e = math.exp(a)
    return e / (1.0 + e)


def dot(u, v):
    """Σₖ uₖ vₖ."""
    total = 0.0
    for k in range(len(u)):
        total += u[k] * v[k]
    return total


def vec_mat(u, w):
    """u @ w for a row u of length M and w of shape (M, N).

    Zeros of u are not skipped, so that inf and NaN propagate.
    """
    out = [0.0] * len(w[0])
    for m in range(len(u)):
        row, scale = w[m], u[m]
        for n in range(len(out)):
            out[n] += scale * row[n]
    return out


def mat_vec(w, u):
    """u @ wᵀ for w of shape (N, M): one dot product for each row of w."""
    return [dot(row, u) for row in w]


def exp_all(values, shift):
    """e^(v − shift) for each v; with shift = max(values) no exponential overflows."""
    return [math.exp(v - shift) for v in values]


def vexp(x, out):
    """out = eˣ.

    Parameters
    ----------
    x : (N,)
    out : (N,) OUT
    """
    _each(_exp, x, out)


def vlog(x, out):
    """out = ln x: −inf for 0, NaN below; x and out as in `vexp`."""
    _each(_log, x, out)


def vtanh(x, out):
    """out = tanh x; x and out as in `vexp`."""
    _each(math.tanh, x, out)


def vsigmoid(x, out):
    """out = 1 / (1 + e⁻ˣ); x and out as in `vexp`."""
    _each(sigmoid, x, out)


def _each(function, x, out):
    with np.errstate(over="ignore"):  # a double beyond float32 becomes inf
        out[...] = [function(v) for v in x.tolist()]


def _exp(v):
    return math.inf if v > 709.782712893384 else math.exp(v)  # math.exp raises


def _log(v):
    if v > 0.0:
        return math.log(v)
    return -math.inf if v == 0.0 else math.nan
