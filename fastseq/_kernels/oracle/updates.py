"""Optimizer updates, one pass over parameters and gradients (see the package for the notation).

Each takes p, g and its state as (R, C) arrays and `rows`: None for all rows, else the distinct
rows that have a gradient. A row without a gradient is left alone, which equals the dense
update exactly for Adagrad and plain SGD without weight decay.

The gradient used is clip(scale · g, ±limit): clipping by norm arrives as `scale`, clipping by
value as `limit` (infinite for none). Formulas and the order of operations are PyTorch's.
"""

import math

INFINITY = math.inf


def _rows(p, rows):
    return range(p.shape[0]) if rows is None else rows.tolist()


def _elements(p, rows):
    return ((r, c) for r in _rows(p, rows) for c in range(p.shape[1]))


def _gradient(p, g, at, scale, limit, weight_decay):
    d = max(min(scale * float(g[at]), limit), -limit)  # in this order NaN stays NaN
    return d + weight_decay * float(p[at])


def sum_squares(g, rows):
    """Σ g², the square of the gradient's norm, summed in double precision.

    Parameters
    ----------
    g : (R, C)
    rows : (N,) int64 or None
    """
    return sum(float(g[at]) ** 2 for at in _elements(g, rows))


def sgd(
    p, g, velocity, rows, scale, limit, lr, weight_decay, momentum, dampening, nesterov, first,
):  # fmt: skip
    """p −= lr · g, or with momentum: v = μ v + (1 − dampening) g, p −= lr · v.

    Parameters
    ----------
    p : (R, C) INOUT
    g : (R, C)
    velocity : (R, C) INOUT or None
        None when momentum is 0.
    nesterov : bool
        p −= lr · (g + μ v).
    first : bool
        The first step sets v = g.
    """
    for at in _elements(p, rows):
        d = _gradient(p, g, at, scale, limit, weight_decay)
        if velocity is not None:
            v = d if first else momentum * float(velocity[at]) + (1.0 - dampening) * d
            velocity[at] = v
            d = d + momentum * v if nesterov else v
        p[at] = float(p[at]) - lr * d


def adagrad(p, g, memory, rows, scale, limit, lr, weight_decay, eps, eps_inside):
    """m += g², p −= lr · g / (√m + ε), or lr · g / √(m + ε) with `eps_inside` [1]_.

    Parameters
    ----------
    p, memory : (R, C) INOUT
    g : (R, C)

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning
           and stochastic optimization", JMLR 12, 2011.
    """
    for at in _elements(p, rows):
        d = _gradient(p, g, at, scale, limit, weight_decay)
        m = float(memory[at]) + d * d
        memory[at] = m
        root = math.sqrt(m + eps) if eps_inside else math.sqrt(m) + eps
        p[at] = float(p[at]) - lr * d / root


def rmsprop(p, g, square, mean, velocity, scale, limit, lr, weight_decay, alpha, eps, momentum):
    """s = α s + (1 − α) g²; p −= lr · g / (√s + ε), centred by `mean`, with momentum [1]_.

    Parameters
    ----------
    p, square : (R, C) INOUT
    g : (R, C)
    mean : (R, C) INOUT or None
        Running mean of g; where given, its square is taken from s.
    velocity : (R, C) INOUT or None
        v = μ v + g / (√s + ε); where given, p −= lr · v.

    References
    ----------
    .. [1] T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", Coursera, 2012.
    """
    for at in _elements(p, None):
        d = _gradient(p, g, at, scale, limit, weight_decay)
        s = alpha * float(square[at]) + (1.0 - alpha) * d * d
        square[at] = s
        if mean is not None:
            average = alpha * float(mean[at]) + (1.0 - alpha) * d
            mean[at] = average
            s = s - average * average
        d = d / (math.sqrt(s) + eps)
        if velocity is not None:
            d = momentum * float(velocity[at]) + d
            velocity[at] = d
        p[at] = float(p[at]) - lr * d


def adam(p, g, mean, square, scale, limit, lr, weight_decay, beta1, beta2, eps, step, decoupled):
    """m = β₁ m + (1 − β₁) g; v = β₂ v + (1 − β₂) g²; p −= lr · m̂ / (√v̂ + ε) [1]_ [2]_.

    Parameters
    ----------
    p, mean, square : (R, C) INOUT
    g : (R, C)
    step : int
        Counted from 1: m̂ = m / (1 − β₁^step), v̂ = v / (1 − β₂^step).
    decoupled : bool
        AdamW: p shrinks by lr · weight_decay instead of weight decay entering g.

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [2] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """
    size = lr / (1.0 - beta1**step)
    root = math.sqrt(1.0 - beta2**step)
    for at in _elements(p, None):
        d = _gradient(p, g, at, scale, limit, 0.0 if decoupled else weight_decay)
        start = float(p[at]) * (1.0 - lr * weight_decay) if decoupled else float(p[at])
        m = float(mean[at]) + (1.0 - beta1) * (d - float(mean[at]))
        v = beta2 * float(square[at]) + (1.0 - beta2) * d * d
        mean[at], square[at] = m, v
        p[at] = start - size * m / (math.sqrt(v) / root + eps)
