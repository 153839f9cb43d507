"""Operators that act on each element, and those along one axis: softmax, means, sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from .package import DTYPES
from .table import Array, gradient, integers, operator, unbroadcast

# -- one input -----------------------------------------------------------------------------

Slope = Callable[[Array, Array], Any]  # dy/dx from x and y


def _unary(name: str, function: Callable[[Array], Any], slope: Slope | None = None) -> None:
    def run(x: Array) -> Array:
        return np.asarray(function(x), x.dtype)

    operator(name)(run)
    if slope is not None:
        gradient(name)(lambda dy, y, x: (np.asarray(dy * slope(x, y), x.dtype),))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


_unary("Relu", lambda x: np.maximum(x, 0), lambda x, y: x > 0)
_unary("Tanh", np.tanh, lambda x, y: 1 - y * y)
_unary("Sigmoid", _sigmoid, lambda x, y: y * (1 - y))
_unary("Softplus", lambda x: np.logaddexp(x, 0), lambda x, y: _sigmoid(x))
_unary("Softsign", lambda x: x / (1 + np.abs(x)), lambda x, y: (1 - np.abs(y)) ** 2)
_unary("Exp", np.exp, lambda x, y: y)
_unary("Log", np.log, lambda x, y: 1 / x)
_unary("Sqrt", np.sqrt, lambda x, y: 0.5 / y)
_unary("Neg", np.negative, lambda x, y: -1)
_unary("Abs", np.abs, lambda x, y: np.sign(x))
_unary("Reciprocal", np.reciprocal, lambda x, y: -y * y)
_unary("Floor", np.floor)
_unary("Ceil", np.ceil)
_unary("Round", np.rint)
_unary("Sign", np.sign)
_unary("Not", np.logical_not)


@operator("Identity")
def identity(x: Array) -> Array:
    return x


@gradient("Identity")
def _identity(dy: Array, y: Array, x: Array) -> tuple[Array]:
    return (dy,)


@operator("LeakyRelu")
def leaky_relu(x: Array, *, alpha: float = 0.01) -> Array:
    return np.where(x < 0, x * x.dtype.type(alpha), x)


@gradient("LeakyRelu")
def _leaky_relu(dy: Array, y: Array, x: Array, *, alpha: float = 0.01) -> tuple[Array]:
    return (np.where(x < 0, dy * dy.dtype.type(alpha), dy),)


@operator("HardSigmoid")
def hard_sigmoid(x: Array, *, alpha: float = 0.2, beta: float = 0.5) -> Array:
    return np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1)


@gradient("HardSigmoid")
def _hard_sigmoid(
    dy: Array, y: Array, x: Array, *, alpha: float = 0.2, beta: float = 0.5
) -> tuple[Array]:
    return (dy * dy.dtype.type(alpha) * ((y > 0) & (y < 1)),)


@operator("Clip")
def clip(
    x: Array,
    least: Array | None = None,
    most: Array | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> Array:
    low, high = (min if least is None else least), (max if most is None else most)
    if low is not None:
        x = np.maximum(x, np.asarray(low, x.dtype))
    return x if high is None else np.minimum(x, np.asarray(high, x.dtype))


@gradient("Clip")
def _clip(dy: Array, y: Array, x: Array, *bounds: Array, **attributes: float) -> tuple[Array]:
    return (dy * (y == x),)


@operator("Cast")
def cast(x: Array, *, to: int, saturate: int = 1) -> Array:
    if to not in DTYPES:
        raise ValueError(f"to: expected the number of a plain type, got {to}")
    return x.astype(DTYPES[to])


@operator("CastLike")
def cast_like(x: Array, like: Array, *, saturate: int = 1) -> Array:
    return x.astype(like.dtype)


@gradient("Cast", "CastLike")
def _cast(dy: Array, y: Array, x: Array, *rest: Array, **attributes: int) -> tuple[Array]:
    return (dy.astype(x.dtype),)


# -- two inputs and more ---------------------------------------------------------------------


def _compare(name: str, function: Callable[[Array, Array], Array]) -> None:
    def run(a: Array, b: Array) -> Array:
        return function(a, b)

    operator(name)(run)


_compare("Equal", np.equal)
_compare("Less", np.less)
_compare("Greater", np.greater)
_compare("LessOrEqual", np.less_equal)
_compare("GreaterOrEqual", np.greater_equal)
_compare("And", np.logical_and)
_compare("Or", np.logical_or)


@operator("Add")
def add(a: Array, b: Array) -> Array:
    return np.asarray(a + b)


@gradient("Add")
def _add(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    return unbroadcast(dy, a), unbroadcast(dy, b)


@operator("Sub")
def subtract(a: Array, b: Array) -> Array:
    return np.asarray(a - b)


@gradient("Sub")
def _subtract(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    return unbroadcast(dy, a), unbroadcast(-dy, b)


@operator("Mul")
def multiply(a: Array, b: Array) -> Array:
    return np.asarray(a * b)


@gradient("Mul")
def _multiply(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    return unbroadcast(dy * b, a), unbroadcast(dy * a, b)


@operator("Div")
def divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    quotient = np.asarray(a // b)  # integers are divided towards zero
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


@gradient("Div")
def _divide(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    return unbroadcast(dy / b, a), unbroadcast(-dy * y / b, b)


@operator("Mod")
def modulo(a: Array, b: Array, *, fmod: int = 0) -> Array:
    return np.asarray(np.fmod(a, b) if fmod else np.mod(a, b))


@operator("Pow")
def power(a: Array, b: Array) -> Array:
    return np.asarray(a**b, a.dtype)


@gradient("Pow")
def _power(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array]:
    return (unbroadcast(np.asarray(dy * b * a ** (b - 1), a.dtype), a),)


@operator("Max")
def maximum(*arrays: Array) -> Array:
    return np.asarray(reduce(np.maximum, arrays))


@operator("Min")
def minimum(*arrays: Array) -> Array:
    return np.asarray(reduce(np.minimum, arrays))


@operator("Sum")
def total(*arrays: Array) -> Array:
    return np.asarray(reduce(np.add, arrays))


@gradient("Sum")
def _total(dy: Array, y: Array, *arrays: Array) -> tuple[Array, ...]:
    return tuple(unbroadcast(dy, array) for array in arrays)


@operator("Where")
def where(condition: Array, a: Array, b: Array) -> Array:
    return np.where(condition, a, b)


@gradient("Where")
def _where(dy: Array, y: Array, condition: Array, a: Array, b: Array) -> tuple[None, Array, Array]:
    zero = np.zeros_like(dy)
    return (
        None,
        unbroadcast(np.where(condition, dy, zero), a),
        unbroadcast(np.where(condition, zero, dy), b),
    )


# -- along an axis ---------------------------------------------------------------------------


def _softmax_rows(x: Array, axis: int | None, opset: int) -> tuple[Array, int]:
    """x and the axis; up to version 12 all axes from this one on count as one."""
    if opset >= 13:
        return x, -1 if axis is None else axis
    start = (1 if axis is None else axis) % max(x.ndim, 1)
    return x.reshape(*x.shape[:start], -1), -1


@operator("Softmax")
def softmax(x: Array, *, axis: int | None = None, opset: int = 13) -> Array:
    rows, along = _softmax_rows(x, axis, opset)
    e = np.exp(rows - rows.max(axis=along, keepdims=True))
    return np.asarray((e / e.sum(axis=along, keepdims=True)).reshape(x.shape))


@gradient("Softmax")
def _softmax(
    dy: Array, y: Array, x: Array, *, axis: int | None = None, opset: int = 13
) -> tuple[Array]:
    rows, along = _softmax_rows(y, axis, opset)
    d = dy.reshape(rows.shape)
    return ((rows * (d - (d * rows).sum(axis=along, keepdims=True))).reshape(x.shape),)


@operator("LogSoftmax")
def log_softmax(x: Array, *, axis: int | None = None, opset: int = 13) -> Array:
    rows, along = _softmax_rows(x, axis, opset)
    shifted = rows - rows.max(axis=along, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=along, keepdims=True))
    return np.asarray((shifted - log_sum).reshape(x.shape))


@gradient("LogSoftmax")
def _log_softmax(
    dy: Array, y: Array, x: Array, *, axis: int | None = None, opset: int = 13
) -> tuple[Array]:
    rows, along = _softmax_rows(y, axis, opset)
    d = dy.reshape(rows.shape)
    return ((d - np.exp(rows) * d.sum(axis=along, keepdims=True)).reshape(x.shape),)


def _axes(x: Array, given: Array | None, axes: Any, noop: int) -> tuple[int, ...]:
    """The axes of a reduction: an input or an attribute; without either, all."""
    wanted = axes if given is None else given
    chosen = () if wanted is None else integers(wanted)
    return chosen if chosen or noop else tuple(range(x.ndim))


def _reduction(name: str, function: Callable[..., Any]) -> None:
    def run(
        x: Array,
        given: Array | None = None,
        *,
        axes: Any = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Array:
        chosen = _axes(x, given, axes, noop_with_empty_axes)
        return np.asarray(function(x, axis=chosen, keepdims=bool(keepdims)), x.dtype)

    operator(name)(run)


_reduction("ReduceMean", np.mean)
_reduction("ReduceSum", np.sum)
_reduction("ReduceMax", np.max)
_reduction("ReduceMin", np.min)
_reduction("ReduceProd", np.prod)


def _repeated(dy: Array, x: Array, chosen: tuple[int, ...], keepdims: int) -> Array:
    if not keepdims:
        dy = np.expand_dims(dy, tuple(axis % x.ndim for axis in chosen))
    return np.broadcast_to(dy, x.shape)


@gradient("ReduceSum")
def _sum(
    dy: Array,
    y: Array,
    x: Array,
    given: Array | None = None,
    *,
    axes: Any = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> tuple[Array]:
    chosen = _axes(x, given, axes, noop_with_empty_axes)
    return (_repeated(dy, x, chosen, keepdims),)


@gradient("ReduceMean")
def _mean(dy: Array, y: Array, x: Array, *rest: Array, **attributes: Any) -> tuple[Array]:
    scale = x.dtype.type(y.size / max(x.size, 1))
    return (_sum(dy, y, x, *rest, **attributes)[0] * scale,)


@operator("ArgMax")
def arg_max(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    if select_last_index:
        raise ValueError("select_last_index: expected 0, got 1")
    return np.asarray(np.argmax(x, axis=axis, keepdims=bool(keepdims)))
