"""Conversion of nested lists to arrays, and the memory layout of those.

An input weight (its name has a U, its shape is (H, V)) is stored by columns. Its product with a
one-hot vector is a column, which is then a row of the table that the kernels gather from. The
same holds for its gradient and its Adagrad memory. All other matrices are stored by rows.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike

Shape = tuple[int, int]


def as_matrix(name: str, values: ArrayLike, shape: Shape | None = None) -> np.ndarray:
    """Convert nested lists or an array to a float64 matrix, without a copy if possible.

    Raises
    ------
    ValueError
        Rows of unequal length, not numbers, not a matrix, or another shape than `shape`.
    """
    try:
        matrix = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected rows of numbers, all of one length") from None
    if matrix.shape == (0,):  # an empty list: no rows
        matrix = matrix.reshape(0, 0)
    if shape is None and matrix.ndim != 2:
        raise ValueError(f"{name}: expected a matrix, got shape {matrix.shape}")
    if shape is not None and matrix.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {matrix.shape}")
    return matrix


def is_table(name: str) -> bool:
    """Whether the matrix of this name is stored by columns."""
    return "U" in name


def laid_out(name: str, values: ArrayLike, shape: Shape) -> np.ndarray:
    """Convert to a matrix in the memory layout of its name, without a copy if possible."""
    return np.asarray(as_matrix(name, values, shape), order=_order(name))


def _order(name: str) -> Literal["F", "C"]:
    return "F" if is_table(name) else "C"


def rows_of(name: str, matrix: np.ndarray) -> np.ndarray:
    """View a `laid_out` matrix as C-contiguous, for the kernels: a table is transposed."""
    return matrix.T if is_table(name) else matrix


def state_row(name: str, values: ArrayLike | None, size: int) -> np.ndarray:
    """Convert a state of shape (size, 1), or None for zeros, to a row of shape (1, size)."""
    if values is None:
        return np.zeros((1, size))
    return as_matrix(name, values, (size, 1)).reshape(1, size)


class HasShapes(Protocol):
    """An object that knows the shapes of its matrices."""

    __dict__: dict[str, Any]

    def shape_of(self, name: str) -> Shape: ...


class Matrix:
    """A model's attribute that holds a float64 array; assigning nested lists copies them."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> Matrix: ...
    @overload
    def __get__(self, model: HasShapes, owner: type) -> np.ndarray: ...
    def __get__(self, model: HasShapes | None, owner: type) -> np.ndarray | Matrix:
        return self if model is None else model.__dict__[self.name]

    def __set__(self, model: HasShapes, values: ArrayLike) -> None:
        # An array is copied, too, so that two attributes never share one.
        matrix = as_matrix(self.name, values, model.shape_of(self.name))
        model.__dict__[self.name] = np.array(matrix, order=_order(self.name))
