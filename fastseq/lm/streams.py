"""Reading one text in several streams at once, so that each of its tokens is scored once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..text.vocabulary import Ids
from .network import Network, State

# The overlap costs at most a third of the work.
_LEAST_PART = 3


class Streams:
    """Cuts a text into streams of equal length that overlap.

    A stream begins without the text before it. Of the tokens that two streams share, only the
    earlier one is scored; the later one merely reads them, and by their end its state is nearly
    that of a reader who began with the text.

    Parameters
    ----------
    ids : ndarray of shape (n,), int64
        At least two tokens.
    count : int
        Most streams; a short text is cut into fewer.
    overlap : int
        Fewest tokens that a stream reads before it is scored.

    Attributes
    ----------
    count : int
        Streams B.
    starts : ndarray of shape (B,), int64
        Position of each stream's first token.
    length : int
        Tokens of a stream.
    unscored : ndarray of shape (B,), int64
        Targets at the start of each stream that belong to the one before.
    """

    def __init__(self, ids: Ids, count: int, overlap: int) -> None:
        targets = len(ids) - 1
        count = min(count, max(1, targets // max(1, _LEAST_PART * overlap)))
        self.ids, self.count = ids, count
        self.length = -(-(targets + (count - 1) * overlap) // count)
        starts = np.arange(count) * (self.length - overlap)
        self.starts = np.minimum(starts, targets - self.length)
        ends = self.starts + self.length
        self.unscored = np.concatenate([[0], ends[:-1]]) - self.starts

    def mean_loss(
        self,
        network: Network,
        seq_length: int,
        carry_state: bool = True,
        start: State | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> float:
        """Mean loss of all tokens but the first, in nats per token.

        Parameters
        ----------
        network : Network
        seq_length : int
            Tokens in a window.
        carry_state : bool
            Keep the state from window to window; otherwise each starts like the first.
        start : State, optional
            State of every stream before its first token; zeros by default.
        progress : callable, optional
            Called after each window with the number of tokens scored so far, and of all.
        """
        total, done, state = 0.0, 0, start
        for first in range(0, self.length, seq_length):
            steps = np.arange(first, min(first + seq_length, self.length))[:, None]
            positions = self.starts + steps
            losses, end = network.losses(self.ids[positions], self.ids[positions + 1], state)
            state = end if carry_state else start
            scored = losses[steps >= self.unscored]
            total += float(np.add.reduce(scored, dtype=np.float64))
            done += len(scored)
            if progress is not None:
                progress(done, len(self.ids) - 1)
        return total / (len(self.ids) - 1)
