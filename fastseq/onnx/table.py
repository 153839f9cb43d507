"""The table of ONNX operators that run on NumPy arrays, with their gradients.

An operator is a function of its inputs, which come by position, None where one is left out. Its
keyword arguments are the attributes that it knows, with their defaults; a node with any other is
refused when the model is loaded. Two names are no attributes: ``opset``, the version of the
operators, and ``output_count``, the number of outputs of the node.

The gradient of an operator is a function (dy, y, *inputs, **attributes) that returns the gradients
of the first inputs, None for one that has none. An operator without one cannot be trained through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_memory

Array = np.ndarray
Function = Callable[..., Any]
CONTEXT = ("opset", "output_count")


class Operator(NamedTuple):
    """One operator: its function, what a node may have, and its gradient.

    Attributes
    ----------
    run : callable
    attributes : tuple of str
        Names of the attributes that it knows.
    required : tuple of str
        Those without a default.
    context : tuple of str
        Those of `CONTEXT` that `run` takes.
    fewest, most : int
        Number of inputs.
    gradient : callable or None
    """

    run: Function
    attributes: tuple[str, ...]
    required: tuple[str, ...]
    context: tuple[str, ...]
    fewest: int
    most: float
    gradient: Function | None = None


OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Function], Function]:
    """Put a function into the table under these names."""

    def register(function: Function) -> Function:
        parameters = list(inspect.signature(function).parameters.values())
        by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        inputs = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        entry = Operator(
            function,
            tuple(name for name in by_name if name not in CONTEXT),
            tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty),
            tuple(name for name in by_name if name in CONTEXT),
            sum(p.default is p.empty for p in inputs) + variadic,
            float("inf") if variadic else len(inputs),
        )
        OPERATORS.update(dict.fromkeys(names, entry))
        return function

    return register


def gradient(*names: str) -> Callable[[Function], Function]:
    """Make a function the gradient of these operators."""

    def register(function: Function) -> Function:
        for name in names:
            OPERATORS[name] = OPERATORS[name]._replace(gradient=function)
        return function

    return register


def unbroadcast(gradient: Array, like: Array) -> Array:
    """Sum a gradient over the axes along which an input was repeated."""
    extra = gradient.ndim - like.ndim
    axes = tuple(range(extra)) + tuple(
        axis + extra
        for axis, size in enumerate(like.shape)
        if size == 1 and gradient.shape[axis + extra] != 1
    )
    return gradient.sum(axis=axes).reshape(like.shape) if axes else gradient


def integers(values: Any) -> tuple[int, ...]:
    """A vector of integers, or one of them, as a tuple."""
    return tuple(int(value) for value in np.asarray(values).reshape(-1))


def check_shape(shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse an array that exceeds the machine's memory; ValueError."""
    if any(size < 0 for size in shape):
        raise ValueError(f"shape: expected sizes of at least 0, got {tuple(shape)}")
    nbytes = dtype.itemsize
    for size in shape:
        nbytes *= size
    check_memory(f"an array of shape {tuple(shape)}", nbytes)
