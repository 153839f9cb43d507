"""The affine map."""

import math

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
from .module import Module, Parameter, PendingCalls


class Linear(Module):
    """y = x @ weightᵀ + bias.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : {"float32", "float64"}
    seed : int or None
        Of the initial values, U(±1/√in_features).

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None
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
        self._rng = np.random.default_rng(seed)
        self._pending = PendingCalls()
        self.flatten_parameters()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters from U(−1/√in_features, 1/√in_features)."""
        bound = 1.0 / math.sqrt(self.in_features)
        for parameter in self.parameters():
            init.uniform_(parameter.data, -bound, bound, self._rng)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Map the last axis.

        Parameters
        ----------
        x : ndarray of shape (..., in_features)

        Returns
        -------
        ndarray of shape (..., out_features)

        Raises
        ------
        TypeError, RuntimeError, ValueError
            Not an array; another number of features; another dtype.
        """
        check_array("x", x)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise RuntimeError(f"x: expected shape (..., {self.in_features}), got {x.shape}")
        if not same_type(x, self.dtype):
            raise ValueError(f"x: expected dtype {self.dtype}, got {x.dtype}")
        rows = self._rows(x)
        y = np.empty((*x.shape[:-1], self.out_features), self.dtype)
        if x.size:
            bias = None if self.bias is None else self.bias.data
            flat = y.reshape(-1, self.out_features)
            kernels(self.dtype).matmul(rows, self.weight.data.T, flat, bias, False)
        return y

    def _rows(self, x: np.ndarray) -> np.ndarray:
        """x as (rows, in_features): a copy where backward will need it."""
        if not self.saves_for_backward():
            return as_kernel_array(x, self.dtype).reshape(-1, self.in_features)
        copy = pooled_empty(x.shape, self.dtype)
        copy[...] = x
        rows = copy.reshape(-1, self.in_features)
        self._pending.push((rows, x.shape), rows.nbytes)
        return rows

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """Add to the parameters' gradients; return the gradient of x.

        Raises
        ------
        RuntimeError
            No forward call in training mode before, or a wrong shape.
        """
        x, shape = self._pending.last()
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
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
