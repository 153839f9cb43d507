"""Windows over a sequence of tokens, cut so that a hidden state can be carried on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_int
from .reading import TextError
from .vocabulary import Ids

# Pages of a mapped file count as this process's memory once read; release them regularly.
_RELEASE_BYTES = 1 << 25


class Batches:
    """Cuts tokens into `batch_size` parallel streams and reads them window by window.

    With ``n`` tokens, a stream has ``L = (n - 1) // batch_size`` of them. Stream ``b`` holds
    ``inputs = tokens[b·L : b·L + L]`` and ``targets = tokens[b·L + 1 : b·L + L + 1]``, and
    window ``i`` covers steps ``i·T`` to ``(i + 1)·T`` of every stream. In each stream window
    ``i + 1`` therefore continues where window ``i`` ends, and ``i`` alone is the position of a
    training run.

    Iteration yields all windows in order, ``len`` is their number; `window` returns any of them.
    With one stream, the windows ``step % len(batches)`` read a text repeatedly from its start.

    Parameters
    ----------
    tokens : ndarray of shape (n,), any integer type
        Not copied.
    batch_size : int
        Number B of streams.
    seq_length : int
        Steps T of a window. The last window has the remaining steps.
    drop_last : bool
        Leave out a last window of fewer than T steps.
    release : callable or None
        Called after about every 32 MB of tokens read.

    Attributes
    ----------
    batch_size, seq_length : int

    Raises
    ------
    TypeError, ValueError
        A size that is not an integer, or below 1.
    TextError
        There are fewer than ``batch_size * seq_length + 1`` tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.text import Batches
    >>> batches = Batches(np.arange(9), batch_size=2, seq_length=2)
    >>> for inputs, targets in batches:  # a column is a stream
    ...     print(inputs.tolist(), targets.tolist())
    [[0, 4], [1, 5]] [[1, 5], [2, 6]]
    [[2, 6], [3, 7]] [[3, 7], [4, 8]]
    """

    def __init__(
        self,
        tokens: NDArray[np.integer[Any]],
        batch_size: int,
        seq_length: int,
        drop_last: bool = False,
        release: Callable[[], None] | None = None,
    ) -> None:
        check_int("batch_size", batch_size, 1)
        check_int("seq_length", seq_length, 1)
        needed = batch_size * seq_length + 1
        if len(tokens) < needed:
            raise TextError(
                f"text: expected at least {needed} tokens for one window "
                f"(batch size {batch_size} × sequence length {seq_length} + 1), "
                f"got {len(tokens)}; use smaller ones"
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
        """Number of targets in all windows."""
        return self._targets.size

    def __len__(self) -> int:
        return -(-self._inputs.shape[1] // self.seq_length)

    def __iter__(self) -> Iterator[tuple[Ids, Ids]]:
        return map(self.window, range(len(self)))

    def window(self, index: int) -> tuple[Ids, Ids]:
        """Return inputs and targets of one window.

        Parameters
        ----------
        index : int
            From 0 to ``len(batches)`` − 1.

        Returns
        -------
        inputs : ndarray of shape (T, B), int64, C-contiguous
            Tokens; each column is a stream.
        targets : ndarray of shape (T, B), int64, C-contiguous
            The token that follows each of them.

        Raises
        ------
        IndexError
            There is no such window.
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
