"""Sequences of different lengths in one batch, without rows for their padding."""

import numpy as np

from ..backend import kernels
from .checks import as_kernel_array


class Packing:
    """The order in which kernels take a batch of sequences of different lengths.

    Sequences are ordered by decreasing length and steps follow each other: the rows of step t are
    those of the sequences longer than t.

    Parameters
    ----------
    lengths : ndarray of int64 of shape (B,)
        From 1 to T, in any order.
    T : int
        Steps of the padded batch.

    Attributes
    ----------
    batch_sizes : ndarray of int64 of shape (max(lengths),)
        Number of sequences longer than t.
    rows : int
        N = Σ lengths.
    active : ndarray of bool of shape (T, B)
        Whether a step of the padded batch is not padding.
    """

    def __init__(self, lengths: np.ndarray, T: int) -> None:
        B = len(lengths)
        self._order = np.argsort(-lengths, kind="stable")
        steps = np.arange(lengths.max())
        self.batch_sizes = B - np.searchsorted(np.sort(lengths), steps, side="right")
        active = np.arange(B) < self.batch_sizes[:, None]
        step, place = np.nonzero(active)
        sequence = self._order[place]
        self.rows = len(step)
        # Places of the packed rows in a padded batch, by its layout.
        self._time_major, self._batch_major = step * B + sequence, sequence * T + step
        self._source = np.full(T * B, -1)
        self._source[self._time_major] = np.arange(self.rows)
        self._padding = np.flatnonzero(self._source < 0)
        self.active = (self._source >= 0).reshape(T, B)
        self._source[self._padding] = 0

    def pack(self, padded: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Copy the non-padding rows of a (T, B, ·) array to `out`, of shape (N, ·)."""
        places, batch_major = self._time_major, padded.swapaxes(0, 1)
        if batch_major.flags.c_contiguous and not padded.flags.c_contiguous:
            places, padded = self._batch_major, batch_major
        table = as_kernel_array(padded, out.dtype).reshape(-1, out.shape[1])
        kernels(out.dtype).gather_rows(table, places, None, out)
        return out

    def pack_marks(self, marks: np.ndarray) -> np.ndarray:
        """The marks of the non-padding rows of a (T, B) array, of shape (N,)."""
        return marks.reshape(-1)[self._time_major]

    def unpack(self, packed: np.ndarray, padded: np.ndarray) -> np.ndarray:
        """Copy packed rows to their places in a (T, B, ·) array; the padding becomes zero."""
        k, rows = kernels(padded.dtype), padded.reshape(-1, padded.shape[2])
        k.gather_rows(packed, self._source, None, rows)
        k.clear_rows(rows, self._padding)
        return padded

    def sort(self, states: np.ndarray) -> np.ndarray:
        """States (K, B, ·) in the order of the packed sequences; a copy."""
        return states[:, self._order]

    def unsort(self, states: np.ndarray) -> np.ndarray:
        """The inverse of `sort`."""
        out = np.empty_like(states)
        out[:, self._order] = states
        return out
