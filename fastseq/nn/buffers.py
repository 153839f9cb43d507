"""Memory for arrays: aligned, and used again once nothing refers to it."""

import math
from collections import deque

import numpy as np

CACHE_LINE = 64  # bytes
_MIN_BYTES = 128 << 10  # malloc does not give smaller pieces back to the system
_MAX_FREE_BYTES = 256 << 20  # of one size that wait to be used again; one is always kept

# Memory and the offset of its first cache line, by size. A deque's operations need no lock.
_free: dict[int, deque[tuple[bytearray, int]]] = {}


class _Block(np.ndarray):
    """The owner of a piece of memory, base of the array that uses it and of all its views."""

    start: int  # of the first cache line

    def __del__(self) -> None:
        if isinstance(self.base, bytearray):
            _free[len(self.base)].append((self.base, self.start))


def pooled_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of undefined contents in memory that an earlier array may have had.

    Fresh memory costs a page fault for each 4 kB. The memory is given back when the last view
    of the array is gone; any number of threads may call this.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _MIN_BYTES:
        return np.empty(shape, dtype)
    size = 1 << (nbytes + CACHE_LINE - 1).bit_length()
    if size not in _free:
        _free.setdefault(size, deque(maxlen=max(1, _MAX_FREE_BYTES // size)))
    try:
        memory, start = _free[size].pop()
    except IndexError:
        memory = bytearray(size)
        start = -np.frombuffer(memory, np.uint8).ctypes.data % CACHE_LINE
    block = _Block(size, np.uint8, memory)
    block.start = start
    return np.ndarray(shape, dtype, block, start)


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """A zeroed vector that starts on a cache line."""
    nbytes = size * dtype.itemsize
    raw = np.zeros(nbytes + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + nbytes].view(dtype)
