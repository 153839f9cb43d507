"""The activation functions of the original.

Each takes a number or (nested) lists of numbers and returns floats in the same form.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

LIMIT = 15.0  # of the sigmoid's argument


def sigmoid(x: ArrayLike) -> Any:
    """Compute 1 / (1 + e⁻ˣ), with x limited to ±15.

    Parameters
    ----------
    x : float or nested lists of float
        Any number of axes.

    Returns
    -------
    float or nested lists of float
        In the form of `x`.

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.activations import sigmoid
    >>> [round(y, 4) for y in sigmoid([0.0, 2.0])]
    [0.5, 0.8808]
    """
    return (1.0 / (1.0 + np.exp(-np.clip(_array(x), -LIMIT, LIMIT)))).tolist()


def sigmoid_derivative(y: ArrayLike) -> Any:
    """Compute y · (1 − y), the derivative of the sigmoid where y = sigmoid(x).

    Parameters
    ----------
    y : float or nested lists of float
        The sigmoid's values.

    Returns
    -------
    float or nested lists of float
        In the form of `y`.

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.activations import sigmoid_derivative
    >>> sigmoid_derivative(0.5)
    0.25
    """
    a = _array(y)
    return (a * (1.0 - a)).tolist()


def tanh(x: ArrayLike) -> Any:
    """Compute the hyperbolic tangent.

    Parameters
    ----------
    x : float or nested lists of float
        Any number of axes.

    Returns
    -------
    float or nested lists of float
        In the form of `x`.

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.activations import tanh
    >>> round(tanh(0.5), 4)
    0.4621
    """
    return np.tanh(_array(x)).tolist()


def tanh_derivative(y: ArrayLike) -> Any:
    """Compute 1 − y², the derivative of the hyperbolic tangent where y = tanh(x).

    Parameters
    ----------
    y : float or nested lists of float
        The hyperbolic tangent's values.

    Returns
    -------
    float or nested lists of float
        In the form of `y`.

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.activations import tanh_derivative
    >>> tanh_derivative([0.0, 0.5])
    [1.0, 0.75]
    """
    return (1.0 - _array(y) ** 2).tolist()


def relu(x: ArrayLike) -> Any:
    """Compute max(x, 0).

    Parameters
    ----------
    x : float or nested lists of float
        Any number of axes.

    Returns
    -------
    float or nested lists of float
        In the form of `x`.

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.activations import relu
    >>> relu([[1.5], [-2.0]])
    [[1.5], [0.0]]
    """
    return np.maximum(_array(x), 0.0).tolist()


def relu_derivative(x: ArrayLike) -> Any:
    """Compute the derivative of max(x, 0): 1 for x > 0, else 0.

    Parameters
    ----------
    x : float or nested lists of float
        Any number of axes.

    Returns
    -------
    float or nested lists of float
        In the form of `x`.

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.activations import relu_derivative
    >>> relu_derivative([[1.5], [-2.0]])
    [[1.0], [0.0]]
    """
    return (_array(x) > 0.0).astype(np.float64).tolist()


def softmax(x: ArrayLike) -> Any:
    """Compute eˣ / Σ eˣ over all elements; the models pass a column vector.

    Parameters
    ----------
    x : float or nested lists of float
        Any number of axes.

    Returns
    -------
    float or nested lists of float
        In the form of `x`.

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.activations import softmax
    >>> softmax([[7.0], [7.0]])
    [[0.5], [0.5]]
    """
    a = _array(x)
    e = np.exp(a - a.max(initial=-np.inf))
    return (e / e.sum()).tolist()


def _array(x: ArrayLike) -> np.ndarray:
    try:
        return np.asarray(x, np.float64)
    except (TypeError, ValueError):
        raise ValueError("x: expected numbers, in rows of one length") from None
