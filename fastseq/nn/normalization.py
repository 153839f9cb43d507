"""Layer normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .checks import check_array, check_floats, check_int, float_type, same_type, zeros
from .module import Module, PendingCalls
from .parameter import Parameter


class LayerNorm(Module):
    """Layer normalization [1]_: mean 0 and variance 1 over the last axes, then gain and bias.

    y = (x − mean) / √(variance + eps) · weight + bias. Mean and variance are those of the elements
    of the last axes, at each place of the others.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Sizes of the last axes, over which is normalized; an int for one axis.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether there are a gain, `weight`, and a bias.
    bias : bool
        Whether there is a bias, where there is a gain.
    dtype : {"float32", "float64"}
        Type of the parameters; x must have the same.

    Attributes
    ----------
    weight : Parameter of shape normalized_shape, or None
        At first ones.
    bias : Parameter of shape normalized_shape, or None
        At first zeros.

    Raises
    ------
    TypeError, ValueError
        A size that is not an integer, or below 1; a dtype other than float32 and float64.

    References
    ----------
    .. [1] J. Ba, J. Kiros, G. Hinton, "Layer normalization", 2016, arXiv:1607.06450.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> norm = nn.LayerNorm(4, dtype="float64")
    >>> norm(np.array([[1.0, 2.0, 3.0, 6.0]])).round(3).tolist()
    [[-1.069, -0.535, 0.0, 1.604]]
    >>> list(norm.state_dict())
    ['weight', 'bias']
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        sizes = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        for size in sizes:
            check_int("normalized_shape", size)
        if not sizes:
            raise ValueError("normalized_shape: expected at least one axis, got ()")
        self.normalized_shape, self.eps = tuple(sizes), float(eps)
        self.elementwise_affine, self.dtype = elementwise_affine, float_type(dtype)
        shape = self.normalized_shape
        self.weight = Parameter(zeros(self.dtype, *shape)) if elementwise_affine else None
        self.bias = Parameter(zeros(self.dtype, *shape)) if elementwise_affine and bias else None
        self._pending = PendingCalls()
        self.flatten_parameters()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to ones and the bias to zeros."""
        if self.weight is not None:
            self.weight.data.fill(1)
        if self.bias is not None:
            self.bias.data.fill(0)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Normalize the last axes.

        Parameters
        ----------
        x : ndarray of shape (..., *normalized_shape)
            Of the layer's dtype and in any memory layout.

        Returns
        -------
        ndarray of the shape of x

        Raises
        ------
        TypeError, RuntimeError, ValueError
            Not a NumPy array; other last axes; another dtype.
        """
        check_array("x", x)
        axes = self.normalized_shape
        if x.shape[max(x.ndim - len(axes), 0) :] != axes:
            expected = ", ".join(["...", *map(str, axes)])
            raise RuntimeError(f"x: expected shape ({expected}), got {x.shape}")
        if not same_type(x, self.dtype):
            raise ValueError(f"x: expected dtype {self.dtype}, got {x.dtype}")
        centred = x.astype(self.dtype, order="C").reshape(-1, self._size())
        centred -= centred.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        inverse = 1 / np.sqrt(variance + self.dtype.type(self.eps))
        normal = centred * inverse
        y = self._affine(normal).reshape(x.shape)
        if self.saves_for_backward():
            self._pending.push((normal, inverse, x.shape), normal.nbytes + inverse.nbytes, y)
        else:
            self._pending.note_unsaved(y)
        return y

    def _size(self) -> int:
        return int(np.prod(self.normalized_shape))

    def _affine(self, normal: np.ndarray) -> np.ndarray:
        """A new array: normal · weight + bias."""
        y = normal.copy() if self.weight is None else normal * self.weight.data.reshape(-1)
        if self.bias is not None:
            y += self.bias.data.reshape(-1)
        return y

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
        saving = self.saves_for_backward()
        normal, inverse, shape = self._pending.last(grad_output, saving)
        check_floats("grad_output", grad_output, self.dtype, shape)
        self._pending.pop()
        dy = grad_output.astype(self.dtype, copy=False).reshape(normal.shape)
        if self.bias is not None:
            self.bias.grad += dy.sum(axis=0).reshape(self.normalized_shape)
        if self.weight is not None:
            self.weight.grad += (dy * normal).sum(axis=0).reshape(self.normalized_shape)
            dy = dy * self.weight.data.reshape(-1)
        # normal = (x − mean) · inverse, where mean and inverse depend on x, too
        mean = dy.mean(axis=1, keepdims=True)
        slope = (dy * normal).mean(axis=1, keepdims=True)
        dx: np.ndarray = inverse * (dy - mean - normal * slope)
        return dx.reshape(shape)

    def extra_repr(self) -> str:
        """Sizes and options, for the repr.

        Returns
        -------
        str
        """
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )

    if TYPE_CHECKING:
        __call__ = forward
