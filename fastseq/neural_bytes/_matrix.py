"""Where nested lists become arrays, and how those lie in memory.

An input weight (its name has a U; its shape is (H, V)) is kept by columns: a column is what a
one-hot vector takes from it, and so a row of the table that the kernels gather from. The same
goes for its gradient and its Adagrad memory. All other matrices are kept by rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from ._model import Model

Shape = tuple[int, int]


def as_matrix(name: str, values: ArrayLike, shape: Shape | None = None) -> np.ndarray:
    """Nested lists (or an array) as a float64 matrix, without a copy where none is needed.

    Raises
    ------
    ValueError
        Rows of unequal length, not numbers, not a matrix, or not of the shape asked for.
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
    """Whether the matrix of this name is kept by columns."""
    return "U" in name


def laid_out(name: str, values: ArrayLike, shape: Shape) -> np.ndarray:
    """A matrix of the given shape in the memory layout of its name, copied only where needed."""
    return np.asarray(as_matrix(name, values, shape), order=_order(name))


def _order(name: str) -> Literal["F", "C"]:
    return "F" if is_table(name) else "C"


def rows_of(name: str, matrix: np.ndarray) -> np.ndarray:
    """A `laid_out` matrix as kernels take it, C-contiguous: a table is transposed."""
    return matrix.T if is_table(name) else matrix


def state_row(name: str, values: ArrayLike | None, size: int) -> np.ndarray:
    """A state of shape (size, 1), or None for zeros, as a row of shape (1, size)."""
    if values is None:
        return np.zeros((1, size))
    return as_matrix(name, values, (size, 1)).reshape(1, size)


class Matrix:
    """A model's attribute that holds a float64 array; assigning nested lists copies them."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> Matrix: ...
    @overload
    def __get__(self, model: Model, owner: type) -> np.ndarray: ...
    def __get__(self, model: Model | None, owner: type) -> np.ndarray | Matrix:
        return self if model is None else model.__dict__[self.name]

    def __set__(self, model: Model, values: ArrayLike) -> None:
        # An array is copied, too: otherwise two attributes could come to share one.
        matrix = as_matrix(self.name, values, model.shape_of(self.name))
        model.__dict__[self.name] = np.array(matrix, order=_order(self.name))
