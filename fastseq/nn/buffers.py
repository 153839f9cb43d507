"""Arrays that live as long as the layer that fills them."""

from typing import Any

import numpy as np

CACHE_LINE = 64  # bytes


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """A zeroed vector that starts on a cache line."""
    nbytes = size * dtype.itemsize
    raw = np.zeros(nbytes + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + nbytes].view(dtype)


class Buffers:
    """Named arrays that are reused from call to call.

    The storage behind a name grows to the largest shape that was asked for and never shrinks,
    so that sequences of changing length do not allocate again and again. A new array holds
    zeros, a reused one what was left in it. Copies and pickles come out empty.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self._storage: dict[str, np.ndarray] = {}
        self._views: dict[str, np.ndarray] = {}

    def __call__(self, name: str, *shape: int) -> np.ndarray:
        view = self._views.get(name)
        if view is None or view.shape != shape:
            view = self._views[name] = self._view(name, shape)
        return view

    def _view(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape))
        if name not in self._storage or self._storage[name].size < size:
            self._storage[name] = aligned_zeros(size, self.dtype)
        return self._storage[name][:size].reshape(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return Buffers, (self.dtype,)
