"""Clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import EllipsisType

import numpy as np

from ...backend import kernels
from ..parameter import Parameter

__all__ = ["clip_coefficient", "clip_grad_norm_", "clip_grad_value_"]

Parameters = Parameter | Iterable[Parameter]


def clip_grad_norm_(parameters: Parameters, max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients so that their norm, taken over all of them, is at most `max_norm` [1]_.

    g ← g · min(1, max_norm / (‖g‖ + 10⁻⁶)). An optimizer does the same within its update: see
    `fastseq.optim.Optimizer.step`.

    Parameters
    ----------
    parameters : Parameter or iterable of Parameter
        Their gradients are changed in place.
    max_norm : float
        Largest norm.
    norm_type : float
        p of the p-norm; `math.inf` for the largest absolute value.

    Returns
    -------
    float
        The norm before.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural
           networks", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> parameter = nn.Parameter(np.zeros(2))
    >>> parameter.grad = [3.0, 4.0]
    >>> nn.utils.clip_grad_norm_(parameter, max_norm=1.0)
    5.0
    >>> parameter.grad.round(4).tolist()
    [0.6, 0.8]
    """
    chosen = _listed(parameters)
    norm = _norm(chosen, float(norm_type))
    scale = clip_coefficient(norm, max_norm)
    if scale != 1.0:
        for parameter in chosen:
            index = _index(parameter)
            parameter.grad[index] *= parameter.dtype.type(scale)
    return norm


def clip_coefficient(norm: float, max_norm: float) -> float:
    """Return the factor that brings a norm down to `max_norm`: min(1, max_norm / (norm + 10⁻⁶)).

    Parameters
    ----------
    norm : float
        The norm of all gradients together. NaN gives NaN.
    max_norm : float
        Largest norm.

    Returns
    -------
    float

    Examples
    --------
    >>> from fastseq import nn
    >>> nn.utils.clip_coefficient(0.5, 1.0), round(nn.utils.clip_coefficient(4.0, 1.0), 4)
    (1.0, 0.25)
    """
    scale = max_norm / (norm + 1e-6)
    return 1.0 if scale > 1.0 else scale  # NaN stays NaN


def clip_grad_value_(parameters: Parameters, clip_value: float) -> None:
    """Limit every element of every gradient to ±clip_value.

    Parameters
    ----------
    parameters : Parameter or iterable of Parameter
        Their gradients are changed in place.
    clip_value : float
        Largest absolute value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> parameter = nn.Parameter(np.zeros(2))
    >>> parameter.grad = [0.5, -4.0]
    >>> nn.utils.clip_grad_value_([parameter], 1.0)
    >>> parameter.grad.tolist()
    [0.5, -1.0]
    """
    for parameter in _listed(parameters):
        index = _index(parameter)
        parameter.grad[index] = np.clip(parameter.grad[index], -clip_value, clip_value)


def _listed(parameters: Parameters) -> list[Parameter]:
    return [parameters] if isinstance(parameters, Parameter) else list(parameters)


def _index(parameter: Parameter) -> np.ndarray | EllipsisType:
    """Selects the rows of the gradient that are not known to be zero."""
    return ... if parameter.rows is None else parameter.rows


def _norm(parameters: list[Parameter], p: float) -> float:
    if p == 2.0:
        return math.sqrt(sum(_sum_squares(parameter) for parameter in parameters))
    sizes = [np.abs(q.grad[_index(q)]).astype(np.float64) for q in parameters if q.size]
    if math.isinf(p):
        return max((float(size.max(initial=0.0)) for size in sizes), default=0.0)
    return sum(float((size**p).sum()) for size in sizes) ** (1.0 / p)


def _sum_squares(parameter: Parameter) -> float:
    if parameter.rows is not None and not parameter.rows.size:
        return 0.0
    rows = 1 if parameter.rows is None else len(parameter.grad)
    return kernels(parameter.dtype).sum_squares(parameter.grad.reshape(rows, -1), parameter.rows)
