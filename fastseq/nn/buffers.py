"""Pooled, aligned memory for arrays, reused when the last reference is gone."""

import math
import mmap
import sys
from functools import cache

import numpy as np

from ..checks import physical_memory

CACHE_LINE = 64  # bytes
_MIN_BYTES = 128 << 10  # malloc does not give smaller pieces back to the system

_free: list[mmap.mmap] = []  # pages that wait to be used again, the oldest first


class _Block(np.ndarray):
    """The owner of some pages, base of the array that uses them and of all its views."""

    def __del__(self) -> None:
        if isinstance(self.base, mmap.mmap):
            _free.append(self.base)
            while len(_free) > 1 and sum(map(len, _free)) > _most_free_bytes():
                del _free[:1]  # no error where another thread has been faster


@cache
def _most_free_bytes() -> int:
    return physical_memory() // 32


def pooled_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of undefined contents in memory that an earlier array may have had.

    Fresh memory costs a page fault for each 4 kB. The memory is given back when the last view
    of the array is gone; any number of threads may call this.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _MIN_BYTES:
        return np.empty(shape, dtype)
    memory = _reused(nbytes) or _new_pages(nbytes)
    return np.ndarray(shape, dtype, _Block(len(memory), np.uint8, memory))


def _reused(nbytes: int) -> mmap.mmap | None:
    """The last free pages of at least so many bytes, and of no more than twice as many."""
    for memory in reversed(_free.copy()):
        if nbytes <= len(memory) <= 2 * nbytes:
            try:
                _free.remove(memory)
            except ValueError:  # another thread has taken it
                continue
            return memory
    return None


def _new_pages(nbytes: int) -> mmap.mmap:
    """Pages of this process alone: a forked child has copies."""
    size = max(-(-nbytes // mmap.PAGESIZE), 1) * mmap.PAGESIZE
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """A zeroed vector that starts on a cache line."""
    nbytes = size * dtype.itemsize
    raw = np.zeros(nbytes + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + nbytes].view(dtype)
