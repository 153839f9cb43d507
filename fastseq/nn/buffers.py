"""Pooled, aligned memory for arrays, reused when the last reference is gone."""

import math
from collections import deque
from mmap import mmap

import numpy as np

CACHE_LINE = 64  # bytes
_MIN_BYTES = 128 << 10  # malloc does not give smaller pieces back to the system
_MAX_FREE_BYTES = 256 << 20  # of one size that wait to be used again; one is always kept

_free: dict[int, deque[mmap]] = {}  # whole pages by size; a deque's operations need no lock


class _Block(np.ndarray):
    """The owner of some pages, base of the array that uses them and of all its views."""

    def __del__(self) -> None:
        if isinstance(self.base, mmap):
            _free[self.nbytes].append(self.base)


def pooled_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of undefined contents in memory that an earlier array may have had.

    Fresh memory costs a page fault for each 4 kB. The memory is given back when the last view
    of the array is gone; any number of threads may call this.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _MIN_BYTES:
        return np.empty(shape, dtype)
    size = _rounded(nbytes)
    if size not in _free:
        _free.setdefault(size, deque(maxlen=max(1, _MAX_FREE_BYTES // size)))
    try:
        memory = _free[size].pop()
    except IndexError:
        memory = mmap(-1, size)
    return np.ndarray(shape, dtype, _Block(size, np.uint8, memory))


def _rounded(nbytes: int) -> int:
    """The next of eight sizes between two powers of two, so that sizes that vary can share."""
    step = max(1 << max(nbytes - 1, 1).bit_length() - 4, 4096)
    return max(-(-nbytes // step), 1) * step


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """A zeroed vector that starts on a cache line."""
    nbytes = size * dtype.itemsize
    raw = np.zeros(nbytes + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + nbytes].view(dtype)
