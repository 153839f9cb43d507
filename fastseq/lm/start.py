"""The state in which a text starts.

In training a text never starts from zeros: the state comes from whatever was read before. A
sample that starts from zeros therefore starts in a state that the model does not know. The mean
of the states before many starts is one that it knows nearly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .network import Network, State

STARTS = 64  # more change the distribution of the first token by less than 0.01 nats
CONTEXT = 64  # tokens that are read before each
_SEARCHED = 1 << 13  # tokens in which the next start is looked for


def mean_start_state(network: Network, tokens: NDArray[Any], end: int) -> State | None:
    """Mean state before the token `end`, over places all over a text.

    Parameters
    ----------
    network : Network
    tokens : ndarray of shape (n,), integer
        The training text; it may be memory-mapped, since little of it is read.
    end : int
        The token after which a text starts.

    Returns
    -------
    State or None
        Of one row, (L, 1, H); None if the token is not found.
    """
    context = min(CONTEXT, len(tokens) // 2)
    places = _find(tokens, end, context)
    if not places or not context:
        return None
    read = np.stack([tokens[at - context : at] for at in places], axis=1, dtype=np.int64)
    state = network.advance(np.ascontiguousarray(read))
    h, c = (None if a is None else a.mean(axis=1, keepdims=True) for a in state)
    assert h is not None
    return State(h, c)


def _find(tokens: NDArray[Any], wanted: int, first: int) -> list[int]:
    """Up to `STARTS` places of a token: the next one after equidistant places from `first` on."""
    found = set()
    for begin in np.linspace(first, len(tokens), STARTS, endpoint=False, dtype=np.int64).tolist():
        hits = np.flatnonzero(tokens[begin : begin + _SEARCHED] == wanted)
        if len(hits):
            found.add(begin + int(hits[0]))
    return sorted(found)
