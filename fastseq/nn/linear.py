"""The affine map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..backend import kernels
from . import init
from .buffers import pooled_empty
from .checks import (
    as_kernel_array,
    check_array,
    check_floats,
    check_int,
    float_type,
    same_type,
    zeros,
)
from .generator import own_generator
from .module import Module, PendingCalls
from .parameter import Parameter


class Linear(Module):
    """Affine map of the last axis: y = x @ weightᵀ + bias.

    Parameters
    ----------
    in_features : int
        Size of the last axis of x.
    out_features : int
        Size of the last axis of y.
    bias : bool
        Whether there is a bias.
    dtype : {"float32", "float64"}
        Type of the parameters; x must have the same.
    seed : int or None
        Seed of the initial values, uniform in ±1/√in_features. None draws from the generator that
        `fastseq.manual_seed` seeds.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None

    Raises
    ------
    TypeError
        A size that is not an integer, or a dtype other than float32 and float64.
    ValueError
        A size below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> linear = nn.Linear(in_features=3, out_features=2, seed=0)
    >>> x = np.ones((5, 4, 3), np.float32)
    >>> y = linear(x)
    >>> y.shape
    (5, 4, 2)
    >>> dx = linear.backward(np.ones_like(y))
    >>> dx.shape, linear.bias.grad.tolist()
    ((5, 4, 3), [20.0, 20.0])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        check_int("in_features", in_features)
        check_int("out_features", out_features)
        self.in_features, self.out_features = in_features, out_features
        self.dtype = float_type(dtype)
        self.weight = Parameter(zeros(self.dtype, out_features, in_features))
        self.bias = Parameter(zeros(self.dtype, out_features)) if bias else None
        self._rng = own_generator(seed)
        self._pending = PendingCalls()
        self.flatten_parameters()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew from U(−1/√in_features, 1/√in_features)."""
        bound = 1.0 / math.sqrt(self.in_features)
        for parameter in self.parameters():
            init.uniform_(parameter.data, -bound, bound, self._rng)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Map the last axis.

        Parameters
        ----------
        x : ndarray of shape (..., in_features)
            Of the layer's dtype and in any memory layout.

        Returns
        -------
        ndarray of shape (..., out_features)

        Raises
        ------
        TypeError, RuntimeError, ValueError
            Not a NumPy array; another number of features; another dtype.
        """
        check_array("x", x)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise RuntimeError(f"x: expected shape (..., {self.in_features}), got {x.shape}")
        if not same_type(x, self.dtype):
            raise ValueError(f"x: expected dtype {self.dtype}, got {x.dtype}")
        save = self.saves_for_backward()
        rows = self._rows(x, save)
        y = np.empty((*x.shape[:-1], self.out_features), self.dtype)
        if x.size:
            bias = None if self.bias is None else self.bias.data
            flat = y.reshape(-1, self.out_features)
            kernels(self.dtype).matmul(rows, self.weight.data.T, flat, bias, False)
        if save:
            self._pending.push((rows, x.shape), rows.nbytes, y)
        else:
            self._pending.note_unsaved(y)
        return y

    def _rows(self, x: np.ndarray, save: bool) -> np.ndarray:
        """x as (rows, in_features): a copy where backward will need it."""
        if not save:
            return as_kernel_array(x, self.dtype).reshape(-1, self.in_features)
        copy = pooled_empty(x.shape, self.dtype)
        copy[...] = x
        return copy.reshape(-1, self.in_features)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """Invert the last forward call that is still pending.

        The gradients of weight and bias are added to their ``grad``.

        Parameters
        ----------
        grad_output : ndarray of the shape of y
            Gradient of the loss with respect to y.

        Returns
        -------
        ndarray of the shape of x
            Gradient with respect to x.

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending, or a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.
        """
        x, shape = self._pending.last(grad_output, self.saves_for_backward())
        check_floats("grad_output", grad_output, self.dtype, (*shape[:-1], self.out_features))
        self._pending.pop()
        dx = np.empty(shape, self.dtype)
        if dx.size:
            k = kernels(self.dtype)
            dy = as_kernel_array(grad_output, self.dtype).reshape(-1, self.out_features)
            k.matmul(dy.T, x, self.weight.grad, None, True)  # dW += dyᵀ @ x
            k.matmul(dy, self.weight.data, dx.reshape(x.shape), None, False)  # dx = dy @ W
            if self.bias is not None:
                k.sum_rows(dy, self.bias.grad)
        return dx

    def extra_repr(self) -> str:
        """Sizes and whether there is a bias, for the repr.

        Returns
        -------
        str
        """
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )

    if TYPE_CHECKING:
        __call__ = forward
