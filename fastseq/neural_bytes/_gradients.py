"""The gradients that `backward` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ._matrix import Shape


@dataclass(frozen=True)
class Columns:
    """A matrix with few columns that are not zero.

    Attributes
    ----------
    shape : (int, int)
    ids : ndarray of shape (N,), int64
        Indices of these columns, each once.
    rows : ndarray of shape (N, shape[0])
        The columns, as rows.
    """

    shape: Shape
    ids: np.ndarray
    rows: np.ndarray

    def dense(self) -> np.ndarray:
        """The whole matrix, stored by columns."""
        table = np.zeros(self.shape[::-1])
        table[self.ids] = self.rows
        return table.T


class Gradients(Sequence[np.ndarray]):
    """One array for each parameter, as an immutable sequence.

    The gradient of an input weight only has columns for the tokens of the window. It is expanded
    to a whole array when it is read; `update` does not need that.
    """

    def __init__(self, items: Sequence[np.ndarray | Columns]) -> None:
        self._items = list(items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, k: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, k: slice) -> tuple[np.ndarray, ...]: ...
    def __getitem__(self, k: int | slice) -> np.ndarray | tuple[np.ndarray, ...]:
        if isinstance(k, slice):
            return tuple(self[i] for i in range(*k.indices(len(self))))
        item = self._items[k]
        if isinstance(item, Columns):
            item = self._items[k] = item.dense()
        return item

    def unread(self, k: int) -> Columns | None:
        """Gradient k in its compact form; None if it has none or has been read."""
        item = self._items[k]
        return item if isinstance(item, Columns) else None
