"""The state in which a text starts.

In training a text never starts from zeros: the state comes from whatever was read before. A
sample that starts from zeros therefore starts in a state that the model does not know. The mean
of the states before many starts is one that it knows nearly.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .network import Network, State

STARTS = 64  # more change the distribution of the first token by less than 0.01 nats
CONTEXT = 64  # tokens that are read before each
_BLOCK = 1 << 16  # tokens that are searched at a time


def start_contexts(
    tokens: NDArray[Any], end: int, release: Callable[[], None] | None = None
) -> NDArray[np.int64] | None:
    """The tokens before starts of texts, from places all over the training text.

    Parameters
    ----------
    tokens : ndarray of shape (n,), integer
        The training text, which may be memory-mapped. All of it is read if ends are rare.
    end : int
        The token after which a text starts.
    release : callable, optional
        Returns the pages of a mapped file that have been read to the system.

    Returns
    -------
    ndarray of shape (T, B), int64, or None
        B contexts, which precede a token `end`; None if there is none in the text.
    """
    context = min(CONTEXT, len(tokens) // 2)
    borders = np.linspace(context, len(tokens), STARTS + 1, dtype=np.int64).tolist()
    places = [
        place
        for begin, stop in pairwise(borders)
        if (place := _first(tokens, end, begin, stop, release)) is not None
    ]
    if not places or not context:
        return None
    read = np.stack([tokens[at - context : at] for at in places], axis=1, dtype=np.int64)
    return np.ascontiguousarray(read)


def _first(
    tokens: NDArray[Any], wanted: int, begin: int, stop: int, release: Callable[[], None] | None
) -> int | None:
    """The first place of a token from `begin` to before `stop`."""
    for at in range(begin, stop, _BLOCK):
        hits = np.flatnonzero(tokens[at : min(at + _BLOCK, stop)] == wanted)
        if release is not None:
            release()
        if len(hits):
            return at + int(hits[0])
    return None


def mean_state(network: Network, contexts: NDArray[np.int64]) -> State:
    """Mean over the states after contexts of shape (T, B), a state of one row."""
    h, c = network.advance(contexts)
    mean_c = None if c is None else c.mean(axis=1, keepdims=True)
    return State(h.mean(axis=1, keepdims=True), mean_c)
