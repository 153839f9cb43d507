"""The gradients that `backward` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ._matrix import Shape


@dataclass(frozen=True)
class Columns:
    """A matrix of zeros but for some columns.

    Attributes
    ----------
    shape : (int, int)
    ids : ndarray of shape (N,), int64
        Which columns, each once.
    rows : ndarray of shape (N, shape[0])
        What stands in them.
    """

    shape: Shape
    ids: np.ndarray
    rows: np.ndarray

    def dense(self) -> np.ndarray:
        """The whole matrix, kept by columns."""
        table = np.zeros(self.shape[::-1])
        table[self.ids] = self.rows
        return table.T


class Gradients(Sequence[np.ndarray]):
    """One array for each parameter, to be read like a tuple.

    The gradient of an input weight has columns for the tokens of the window alone. It becomes
    a whole array when somebody reads it; handed to `update` unread, it never does.
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
        """Gradient k in its short form, None if it has no such form or has been read."""
        item = self._items[k]
        return item if isinstance(item, Columns) else None
