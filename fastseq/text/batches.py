"""Windows over a stream of tokens, cut so that a hidden state can be carried on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .reading import TextError
from .vocabulary import Ids

# A mapped file's pages count as ours once read; hand them back every so often.
_RELEASE_BYTES = 1 << 25


class Batches:
    """A stream in `batch_size` contiguous lanes, read window by window.

    With ``n`` tokens, a lane has ``L = (n - 1) // batch_size`` of them. Lane ``b`` holds
    ``inputs = tokens[b·L : b·L + L]`` and ``targets = tokens[b·L + 1 : b·L + L + 1]``, and
    window ``i`` takes steps ``i·T`` to ``(i + 1)·T`` of every lane. Window ``i + 1`` so goes
    on where window ``i`` ends, lane by lane, and ``i`` alone says where training stands.

    Iterate for all windows in order, or take any with `window`. One lane and windows
    ``step % len(batches)`` read a text through from its start, over and over.

    Parameters
    ----------
    tokens : ndarray of shape (n,), any integer type
        Not copied.
    batch_size, seq_length : int
        Lanes B and steps T of a window. The last window has as many steps as are left.
    drop_last : bool
        Leave out a last window of fewer than T steps.
    release : callable, optional
        Called after every 32 MB or so of tokens read.

    Raises
    ------
    TextError
        Where there are fewer than ``batch_size * seq_length + 1`` tokens.
    """

    def __init__(
        self,
        tokens: NDArray[np.integer[Any]],
        batch_size: int,
        seq_length: int,
        drop_last: bool = False,
        release: Callable[[], None] | None = None,
    ) -> None:
        for name, value in ("batch_size", batch_size), ("seq_length", seq_length):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value!r}")
        needed = batch_size * seq_length + 1
        if len(tokens) < needed:
            raise TextError(
                f"text: expected at least {needed} tokens for one window "
                f"(batch size {batch_size} × sequence length {seq_length} + 1), got {len(tokens)}"
            )
        self.batch_size = batch_size
        self.seq_length = seq_length
        length = (len(tokens) - 1) // batch_size
        if drop_last:
            length -= length % seq_length
        self._inputs = tokens[: batch_size * length].reshape(batch_size, length)
        self._targets = tokens[1 : batch_size * length + 1].reshape(batch_size, length)
        self._release = release
        self._unreleased = 0

    @property
    def token_count(self) -> int:
        """Targets in all windows together."""
        return self._targets.size

    def __len__(self) -> int:
        return -(-self._inputs.shape[1] // self.seq_length)

    def __iter__(self) -> Iterator[tuple[Ids, Ids]]:
        return map(self.window, range(len(self)))

    def window(self, index: int) -> tuple[Ids, Ids]:
        """Inputs and targets of one window.

        Returns
        -------
        inputs, targets : ndarray of shape (T, B), int64, C-contiguous
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected 0 to {len(self) - 1}, got {index}")
        steps = slice(index * self.seq_length, (index + 1) * self.seq_length)
        inputs = np.ascontiguousarray(self._inputs[:, steps].T, np.int64)
        targets = np.ascontiguousarray(self._targets[:, steps].T, np.int64)
        self._count_read(inputs.size * self._inputs.itemsize)
        return inputs, targets

    def _count_read(self, n_bytes: int) -> None:
        self._unreleased += n_bytes
        if self._release is not None and self._unreleased > _RELEASE_BYTES:
            self._release()
            self._unreleased = 0
