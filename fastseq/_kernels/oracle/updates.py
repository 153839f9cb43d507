"""Optimizer updates, one pass over parameters and gradients (see the package for the notation).

Each takes p, g and its state as (R, C) arrays. The gradient that it uses is
clip(scale · g, ±limit) + weight_decay · p, with the numbers of a `Clip`: clipping by norm comes as
`scale`, clipping by value as `limit` (infinite for none). `rows` is None for all rows, else the
rows that have a gradient, each once. The other rows are left alone, which equals the dense update
exactly for Adagrad and plain SGD without weight decay. Formulas and the order of operations are
PyTorch's.
"""

import math


def _rows(p, rows):
    return range(p.shape[0]) if rows is None else rows.tolist()


def _elements(p, rows):
    return ((r, c) for r in _rows(p, rows) for c in range(p.shape[1]))


def _gradient(p, g, at, clip):
    d = max(min(clip.scale * float(g[at]), clip.limit), -clip.limit)  # in this order NaN stays NaN
    return d + clip.weight_decay * float(p[at])


def sum_squares(g, rows):
    """Σ g², the square of the gradient's norm, summed in double precision.

    Parameters
    ----------
    g : (R, C)
    rows : (N,) int64 or None
    """
    return sum(float(g[at]) ** 2 for at in _elements(g, rows))


def sgd(p, g, momentum_buffer, rows, clip, options):
    """p −= lr · g, or with momentum: v = μ v + (1 − dampening) g, p −= lr · v.

    Parameters
    ----------
    p : (R, C) INOUT
    g : (R, C)
    momentum_buffer : (R, C) INOUT or None
        v; None when momentum is 0.
    rows : (N,) int64 or None
    clip : Clip
    options : SGDOptions
        nesterov: p −= lr · (g + μ v). first: the first step sets v = g.
    """
    lr, momentum, dampening, nesterov, first = options
    for at in _elements(p, rows):
        d = _gradient(p, g, at, clip)
        if momentum_buffer is not None:
            v = d if first else momentum * float(momentum_buffer[at]) + (1.0 - dampening) * d
            momentum_buffer[at] = v
            d = d + momentum * v if nesterov else v
        p[at] = float(p[at]) - lr * d


def adagrad(p, g, sum_of_squares, rows, clip, options):
    """s += g², p −= lr · g / (√s + ε) [1]_.

    Parameters
    ----------
    p, sum_of_squares : (R, C) INOUT
    g : (R, C)
    rows : (N,) int64 or None
    clip : Clip
    options : AdagradOptions
        eps_inside: p −= lr · g / √(s + ε).

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning
           and stochastic optimization", JMLR 12, 2011.
    """
    lr, eps, eps_inside = options
    for at in _elements(p, rows):
        d = _gradient(p, g, at, clip)
        s = float(sum_of_squares[at]) + d * d
        sum_of_squares[at] = s
        root = math.sqrt(s + eps) if eps_inside else math.sqrt(s) + eps
        p[at] = float(p[at]) - lr * d / root


def rmsprop(p, g, square_avg, grad_avg, momentum_buffer, clip, options):
    """s = α s + (1 − α) g²; p −= lr · g / (√s + ε) [1]_.

    Parameters
    ----------
    p, square_avg : (R, C) INOUT
    g : (R, C)
    grad_avg : (R, C) INOUT or None
        Running mean of g; where given, its square is taken from s.
    momentum_buffer : (R, C) INOUT or None
        v = μ v + g / (√s + ε); where given, p −= lr · v.
    clip : Clip
    options : RMSpropOptions

    References
    ----------
    .. [1] T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", Coursera, 2012.
    """
    lr, alpha, eps, momentum = options
    for at in _elements(p, None):
        d = _gradient(p, g, at, clip)
        s = alpha * float(square_avg[at]) + (1.0 - alpha) * d * d
        square_avg[at] = s
        if grad_avg is not None:
            average = alpha * float(grad_avg[at]) + (1.0 - alpha) * d
            grad_avg[at] = average
            s = s - average * average
        d = d / (math.sqrt(s) + eps)
        if momentum_buffer is not None:
            d = momentum * float(momentum_buffer[at]) + d
            momentum_buffer[at] = d
        p[at] = float(p[at]) - lr * d


def adam(p, g, exp_avg, exp_avg_sq, clip, options):
    """m = β₁ m + (1 − β₁) g; v = β₂ v + (1 − β₂) g²; p −= lr · m̂ / (√v̂ + ε) [1]_ [2]_.

    Parameters
    ----------
    p, exp_avg, exp_avg_sq : (R, C) INOUT
    g : (R, C)
    clip : Clip
    options : AdamOptions
        step counts from 1: m̂ = m / (1 − β₁^step), v̂ = v / (1 − β₂^step). decoupled (AdamW):
        p shrinks by lr · weight_decay, and weight decay does not enter g.

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [2] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """
    lr, beta1, beta2, eps, step, decoupled = options
    step_size = lr / (1.0 - beta1**step)
    root = math.sqrt(1.0 - beta2**step)
    shrink = 1.0 - lr * clip.weight_decay if decoupled else 1.0
    clip = clip._replace(weight_decay=0.0) if decoupled else clip
    for at in _elements(p, None):
        d = _gradient(p, g, at, clip)
        m = float(exp_avg[at]) + (1.0 - beta1) * (d - float(exp_avg[at]))
        v = beta2 * float(exp_avg_sq[at]) + (1.0 - beta2) * d * d
        exp_avg[at], exp_avg_sq[at] = m, v
        p[at] = float(p[at]) * shrink - step_size * m / (math.sqrt(v) / root + eps)
