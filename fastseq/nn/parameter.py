"""Parameters: arrays with their gradients."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..backend import kernels

NO_ROWS = np.empty(0, np.int64)


class Parameter:
    """A trainable array with its gradient.

    NumPy's functions and operators take it as the array `data`, and return arrays: ``x @ weight``,
    ``np.linalg.norm(weight)``. Everything else, such as its length, rows or methods, is that of
    ``weight.data``.

    Parameters
    ----------
    data : array_like of float32 or float64
        First values; they are copied.
    row_sparse : bool
        Whether the gradient is non-zero in few rows (axis 0), as that of an embedding table is.
    transposed : bool
        Whether the array is the transpose of what `Module.state_dict` shows.

    Attributes
    ----------
    requires_grad : bool
        Whether recurrent layers compute the gradient; True at first.
    rows : ndarray of int64 or None
        None where the gradient is dense, otherwise the distinct rows in which it may be non-zero.
    transposed : bool

    Raises
    ------
    TypeError
        `data` of another dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> weight = nn.Parameter(np.zeros((2, 3), np.float32))
    >>> weight
    Parameter(shape=(2, 3), dtype=float32)
    >>> weight.grad += 1
    >>> weight.data -= 0.5 * weight.grad
    >>> weight.data[0].tolist()
    [-0.5, -0.5, -0.5]
    """

    __slots__ = ("_data", "_grad", "requires_grad", "rows", "transposed")

    storage_version: ClassVar[int] = 0  # counts the changes of any parameter's storage

    def __init__(
        self, data: npt.ArrayLike, *, row_sparse: bool = False, transposed: bool = False
    ) -> None:
        self._data = np.array(data, order="C")
        if self._data.dtype.name not in ("float32", "float64"):
            raise TypeError(f"data: expected float32 or float64, got {self._data.dtype}")
        self._grad = np.zeros(self._data.shape, self._data.dtype)
        self.rows: np.ndarray | None = NO_ROWS if row_sparse else None
        self.transposed = transposed
        self.requires_grad = True

    @property
    def data(self) -> np.ndarray:
        """The values, C-contiguous; in a module a view of the array that holds all its parameters.

        Assigning to it copies values of the same shape in and never rebinds the view; a ValueError
        refuses another shape.
        """
        return self._data

    @data.setter
    def data(self, values: npt.ArrayLike) -> None:
        self._assign("data", self._data, values)

    @property
    def grad(self) -> np.ndarray:
        """The gradient, of the shape and dtype of `data`.

        Assigning to it copies values of the same shape in and never rebinds the view; a ValueError
        refuses another shape.
        """
        return self._grad

    @grad.setter
    def grad(self, values: npt.ArrayLike) -> None:
        self._assign("grad", self._grad, values)
        if self.rows is not None and values is not self._grad:
            self.rows = np.arange(len(self._grad), dtype=np.int64)

    @staticmethod
    def _assign(name: str, target: np.ndarray, values: npt.ArrayLike) -> None:
        if values is target:  # what `parameter.data -= step` ends with
            return
        values = np.asarray(values)
        if values.shape != target.shape:
            raise ValueError(f"{name}: expected shape {target.shape}, got {values.shape}")
        target[...] = values

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values, a tuple of int."""
        return self._data.shape

    @property
    def size(self) -> int:
        """Number of values."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype:
        """Type of values and gradient, float32 or float64."""
        return self._data.dtype

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray:
        if dtype is None or np.dtype(dtype) == self.dtype:
            return self._data.copy() if copy else self._data
        if copy is False:
            raise ValueError(f"a copy is needed to convert {self.dtype} to {np.dtype(dtype)}")
        return self._data.astype(dtype)

    def mark_rows(self, rows: np.ndarray) -> None:
        """Record rows to which a gradient is about to be added.

        It has no effect where the gradient is dense.

        Parameters
        ----------
        rows : ndarray of int64
            In any order; repeats are allowed.
        """
        if self.rows is not None:
            rows = np.unique(rows)
            self.rows = np.union1d(self.rows, rows) if self.rows.size else rows

    def zero_grad(self) -> None:
        """Set the gradient to zero, where it may be other than zero."""
        if self.rows is None:
            self._grad.fill(0)
        elif self.rows.size:
            table = self._grad.reshape(len(self._grad), -1)
            kernels(self.dtype).clear_rows(table, self.rows)
            self.rows = NO_ROWS

    def rebind(self, data: np.ndarray, grad: np.ndarray) -> None:
        """Move into other storage, values included.

        Parameters
        ----------
        data, grad : ndarray of the shape and dtype of this parameter
            The new storage of values and gradient, which is overwritten.
        """
        data[...], grad[...] = self._data, self._grad
        self._data, self._grad = data, grad
        Parameter.storage_version += 1

    def public_view(self) -> np.ndarray:
        """Return the view of the values that `Module.state_dict` copies.

        Returns
        -------
        ndarray
            `data`, or its transpose.
        """
        return self._data.T if self.transposed else self._data

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"
