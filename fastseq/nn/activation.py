"""Activations: functions of each element, and softmax along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..backend import kernels
from ..checks import is_integer
from .checks import check_float_array, check_floats
from .module import Module, PendingCalls


class Activation(Module):
    """Base class of the activations, which keep the shape and dtype of their input.

    A subclass computes the output, and the gradient from a copy of the output.
    """

    def __init__(self) -> None:
        self._pending = PendingCalls()

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Compute the activation.

        Parameters
        ----------
        x : ndarray of float32 or float64, of any shape
            In any memory layout.

        Returns
        -------
        ndarray of the shape of x

        Raises
        ------
        TypeError
            Not a NumPy array of floats.
        """
        dtype = check_float_array("x", x)
        y = self._output(np.array(x, dtype, order="C"))
        if self.saves_for_backward():
            self._pending.push(y.copy(), y.nbytes, y)
        else:
            self._pending.note_unsaved(y)
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """Return the gradient of the input of the last forward call that is still pending.

        Parameters
        ----------
        grad_output : ndarray of the shape and dtype of the output

        Returns
        -------
        ndarray of the same shape

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending, or a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.
        """
        y: np.ndarray = self._pending.last(grad_output, self.saves_for_backward())
        check_floats("grad_output", grad_output, y.dtype, y.shape)
        self._pending.pop()
        return np.asarray(self._input_gradient(y, grad_output.astype(y.dtype, copy=False)))

    def _output(self, x: np.ndarray) -> np.ndarray:
        """The output, for a C-contiguous x that may be overwritten."""
        raise NotImplementedError

    def _input_gradient(self, y: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """The gradient of the input from the output and its gradient."""
        raise NotImplementedError

    if TYPE_CHECKING:
        __call__ = forward


class ReLU(Activation):
    """Rectifier: y = max(x, 0), with the gradient 0 at 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> relu = nn.ReLU()
    >>> relu(np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    >>> relu.backward(np.ones(3)).tolist()
    [0.0, 0.0, 1.0]
    """

    def _output(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0, out=x)

    def _input_gradient(self, y: np.ndarray, dy: np.ndarray) -> np.ndarray:
        return np.where(y <= 0, y.dtype.type(0), dy)


class Tanh(Activation):
    """Hyperbolic tangent: y = tanh x.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> tanh = nn.Tanh()
    >>> tanh(np.array([0.0, 1.0])).round(4).tolist()
    [0.0, 0.7616]
    >>> tanh.backward(np.ones(2)).round(4).tolist()  # 1 − y²
    [1.0, 0.42]
    """

    def _output(self, x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        kernels(x.dtype).vtanh(x.reshape(-1), y.reshape(-1))
        return y

    def _input_gradient(self, y: np.ndarray, dy: np.ndarray) -> np.ndarray:
        return dy * (1 - y * y)


class Sigmoid(Activation):
    """Logistic function: y = 1 / (1 + e⁻ˣ).

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> sigmoid = nn.Sigmoid()
    >>> sigmoid(np.array([0.0, 2.0])).round(4).tolist()
    [0.5, 0.8808]
    >>> sigmoid.backward(np.ones(2)).round(4).tolist()  # y (1 − y)
    [0.25, 0.105]
    """

    def _output(self, x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        kernels(x.dtype).vsigmoid(x.reshape(-1), y.reshape(-1))
        return y

    def _input_gradient(self, y: np.ndarray, dy: np.ndarray) -> np.ndarray:
        return dy * (y * (1 - y))


class _AlongAxis(Activation):
    """An activation in which the elements along one axis depend on each other."""

    def __init__(self, dim: int = -1) -> None:
        if not is_integer(dim):
            raise TypeError(f"dim: expected an integer, got {dim!r}")
        super().__init__()
        self.dim = dim

    def _axis(self, array: np.ndarray) -> int:
        """The axis; of a scalar, which is made a vector of one element, the only one."""
        ndim = max(array.ndim, 1)
        if not -ndim <= self.dim < ndim:
            raise IndexError(f"dim: expected {-ndim} to {ndim - 1}, got {self.dim}")
        return self.dim % ndim

    def extra_repr(self) -> str:
        """The axis, for the repr.

        Returns
        -------
        str
        """
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """Probabilities from scores: y = eˣ / Σ eˣ, the sum along one axis.

    For a loss, `cross_entropy` of the scores themselves is more accurate.

    Parameters
    ----------
    dim : int
        The axis; a negative one counts from the end.

    Raises
    ------
    TypeError
        `dim` is not an integer.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> nn.Softmax(dim=-1)(np.log([[1.0, 2.0, 5.0]])).tolist()
    [[0.125, 0.25, 0.625]]
    """

    def _output(self, x: np.ndarray) -> np.ndarray:
        axis, shape = self._axis(x), x.shape
        if not x.size:
            return x
        e = np.exp(_below_the_largest(np.atleast_1d(x), axis))
        e /= e.sum(axis=axis, keepdims=True)
        return e.reshape(shape)

    def _input_gradient(self, y: np.ndarray, dy: np.ndarray) -> np.ndarray:
        weighted = np.atleast_1d(dy * y)
        total = weighted.sum(axis=self._axis(y), keepdims=True)
        return (weighted - y * total).reshape(y.shape)


class LogSoftmax(_AlongAxis):
    """Log-probabilities from scores: y = x − log Σ eˣ, the sum along one axis.

    Parameters
    ----------
    dim : int
        The axis; a negative one counts from the end.

    Raises
    ------
    TypeError
        `dim` is not an integer.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> y = nn.LogSoftmax(dim=-1)(np.log([[1.0, 2.0, 5.0]]))
    >>> np.exp(y).round(4).tolist()
    [[0.125, 0.25, 0.625]]
    """

    def _output(self, x: np.ndarray) -> np.ndarray:
        axis, shape = self._axis(x), x.shape
        if not x.size:
            return x
        z = _below_the_largest(np.atleast_1d(x), axis)
        z -= np.log(np.exp(z).sum(axis=axis, keepdims=True))
        return z.reshape(shape)

    def _input_gradient(self, y: np.ndarray, dy: np.ndarray) -> np.ndarray:
        total = np.atleast_1d(dy).sum(axis=self._axis(y), keepdims=True)
        return (dy - np.exp(y) * total).reshape(y.shape)


def _below_the_largest(z: np.ndarray, axis: int) -> np.ndarray:
    """Scores minus the largest along an axis, so that no exponential overflows."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite scores give NaN, as in PyTorch
        return z - z.max(axis=axis, keepdims=True)
