"""The activation functions of the original.

Each takes a number or (nested) lists of numbers and returns floats in the same form.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

LIMIT = 15.0  # of the sigmoid's argument


def sigmoid(x: ArrayLike) -> Any:
    """1 / (1 + e⁻ˣ) with x limited to ±15."""
    return (1.0 / (1.0 + np.exp(-np.clip(_array(x), -LIMIT, LIMIT)))).tolist()


def sigmoid_derivative(y: ArrayLike) -> Any:
    """y · (1 − y), the derivative for y = sigmoid(x)."""
    a = _array(y)
    return (a * (1.0 - a)).tolist()


def tanh(x: ArrayLike) -> Any:
    """Hyperbolic tangent."""
    return np.tanh(_array(x)).tolist()


def tanh_derivative(y: ArrayLike) -> Any:
    """1 − y², the derivative for y = tanh(x)."""
    return (1.0 - _array(y) ** 2).tolist()


def relu(x: ArrayLike) -> Any:
    """max(x, 0)."""
    return np.maximum(_array(x), 0.0).tolist()


def relu_derivative(x: ArrayLike) -> Any:
    """1 for x > 0, else 0."""
    return (_array(x) > 0.0).astype(np.float64).tolist()


def softmax(x: ArrayLike) -> Any:
    """eˣ / Σ eˣ over all elements; the models pass a column vector."""
    a = _array(x)
    e = np.exp(a - a.max(initial=-np.inf))
    return (e / e.sum()).tolist()


def _array(x: ArrayLike) -> np.ndarray:
    try:
        return np.asarray(x, np.float64)
    except (TypeError, ValueError):
        raise ValueError("x: expected numbers, in rows of one length") from None
