"""Sequences of different lengths in one batch, without rows for their padding."""

import numpy as np


class Packing:
    """The order in which kernels take a batch of sequences of different lengths.

    Sequences are ordered by falling length and steps follow each other: the rows of step t are
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
    """

    def __init__(self, lengths: np.ndarray, T: int) -> None:
        self._order = np.argsort(-lengths, kind="stable")
        steps = np.arange(lengths.max())
        self.batch_sizes = np.searchsorted(np.sort(lengths), steps, side="right")
        self.batch_sizes = len(lengths) - self.batch_sizes
        ordered = self._order[None, :].repeat(len(steps), axis=0)
        active = np.arange(len(lengths))[None, :] < self.batch_sizes[:, None]
        self._step = steps[:, None].repeat(len(lengths), axis=1)[active]
        self._sequence = ordered[active]
        self.rows = len(self._step)

    def pack(self, padded: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Copy the rows of a (T, B, ·) array that are no padding to `out`, of shape (N, ·)."""
        out[...] = padded[self._step, self._sequence]
        return out

    def unpack(self, packed: np.ndarray, padded: np.ndarray) -> np.ndarray:
        """Copy packed rows to their places in a (T, B, ·) array; the padding becomes zero."""
        padded[...] = 0
        padded[self._step, self._sequence] = packed
        return padded

    def sort(self, states: np.ndarray) -> np.ndarray:
        """States (K, B, ·) in the order of the packed sequences; a copy."""
        return states[:, self._order]

    def unsort(self, states: np.ndarray) -> np.ndarray:
        """The inverse of `sort`."""
        out = np.empty_like(states)
        out[:, self._order] = states
        return out
