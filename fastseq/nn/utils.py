"""Clipping of gradients."""

import math
from collections.abc import Iterable
from types import EllipsisType

import numpy as np

from ..backend import kernels
from .module import Parameter

Parameters = Parameter | Iterable[Parameter]


def clip_grad_norm_(parameters: Parameters, max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients so that their norm, taken over all of them, is at most `max_norm`.

    An optimizer does the same within its update: see `fastseq.optim.Optimizer.step`.

    Parameters
    ----------
    parameters : Parameter or iterable of Parameter
    max_norm : float
    norm_type : float
        p of the p-norm; `math.inf` for the largest absolute value.

    Returns
    -------
    float
        The norm before.
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
    """The factor that brings `norm` down to `max_norm`, 1 where it is not above."""
    scale = max_norm / (norm + 1e-6)
    return 1.0 if scale > 1.0 else scale  # NaN stays NaN


def clip_grad_value_(parameters: Parameters, clip_value: float) -> None:
    """Clip every element of every gradient to ±clip_value."""
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
