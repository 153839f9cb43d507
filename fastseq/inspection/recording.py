"""The recording: what a network computes while it reads a text, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.records import LayerCall
from ..lm import State
from ..lm.network import Network
from ..text.vocabulary import Ids

Floats = NDArray[Any]
WINDOW = 256
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Recording:
    """What a network computes while it reads N tokens; L layers of H units.

    Attributes
    ----------
    states : dict of str to ndarray of shape (L, N, H)
        ``h`` and, where the cell has one, ``c``, after each token.
    gates : dict of str to ndarray of shape (L, n, H)
        Activated gates at each of the first n tokens.
    bits : ndarray of shape (N,)
        Surprise at each token: −log₂ of its probability.
    next_ids : ndarray of shape (n, k), int64
        The likeliest next tokens after each of the first n tokens, the likeliest first.
    next_probabilities : ndarray of shape (n, k)
    """

    states: dict[str, Floats]
    gates: dict[str, Floats]
    bits: NDArray[np.float64]
    next_ids: Ids
    next_probabilities: NDArray[np.float64]

    @property
    def names(self) -> tuple[str, ...]:
        """The states, then the gates."""
        return (*self.states, *self.gates)


@dataclass(frozen=True)
class Extent:
    """What a recording contains.

    Attributes
    ----------
    start : int
        Tokens that are read but not recorded.
    shown : int
        Tokens after them that are recorded with gates and predictions.
    ranked : int
        Tokens after `start` that are recorded with states; at least `shown`.
    predictions : int
        Next tokens to record for each token.
    gates : bool
        Whether gates are recorded.
    """

    start: int
    shown: int
    ranked: int
    predictions: int
    gates: bool = True


def state_names(network: Network) -> tuple[str, ...]:
    """Names of the states of a network's cell."""
    return network.config.kernel_cell.states


def gate_names(network: Network) -> tuple[str, ...]:
    """Names of the gates of a network's cell; the only gate of a plain RNN is its state."""
    cell = network.config.kernel_cell
    return tuple(gate for gate in cell.gates if gate not in cell.states)


def record(network: Network, ids: Ids, extent: Extent, progress: Progress) -> Recording:
    """Let a network read a text and record a part of it.

    Parameters
    ----------
    network : Network
    ids : ndarray, int64
        A token before the text, then the text.
    extent : Extent
    progress : callable
        Called with the number of tokens that have been read and of those to read.
    """
    start, ids = extent.start, ids[: extent.start + extent.ranked + 1]
    recording = _allocate(network, extent)
    state = _read(network, ids[:start], lambda done: progress(done, len(ids)))
    # Row 0 is the token before the recording: it only predicts.
    for first, logits, calls in _windows(network, ids[start:], state):
        log_probabilities = _log_softmax(logits)
        _keep_bits(recording, first, log_probabilities, ids[start + first + 1 :])
        _keep_next(recording, first - 1, log_probabilities)
        for number, call in enumerate(calls):
            _keep_layer(recording, number, first - 1, call)
        progress(start + first + len(logits), len(ids))
    return recording


def _read(network: Network, ids: Ids, progress: Callable[[int], object]) -> State | None:
    state = network.start_state()
    for first in range(0, len(ids), WINDOW):
        part = ids[first : first + WINDOW, None]
        state = network.advance(part, state)
        progress(first + len(part))
    return state


def _windows(
    network: Network, ids: Ids, state: State | None
) -> Iterator[tuple[int, Floats, list[LayerCall]]]:
    """The first row, logits and calls of each window."""
    for first in range(0, len(ids), WINDOW):
        logits, state, calls = network.activations(ids[first : first + WINDOW, None], state)
        yield first, logits, calls


def _allocate(network: Network, extent: Extent) -> Recording:
    (L, H), shown = (network.config.num_layers, network.config.hidden_size), extent.shown
    k = min(extent.predictions, network.vocabulary_size)
    gates = gate_names(network) if extent.gates else ()
    return Recording(
        {name: np.empty((L, extent.ranked, H), network.dtype) for name in state_names(network)},
        {name: np.empty((L, shown, H), network.dtype) for name in gates},
        np.empty(extent.ranked),
        np.empty((shown, k), np.int64),
        np.empty((shown, k)),
    )


def _log_softmax(logits: Floats) -> NDArray[np.float64]:
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def _keep_bits(
    recording: Recording, first: int, log_probabilities: Floats, following: Ids
) -> None:
    """Row i predicts token i of the recording."""
    rows = min(len(following), len(log_probabilities))
    nats = log_probabilities[np.arange(rows), following[:rows]]
    recording.bits[first : first + rows] = -nats / math.log(2)


def _keep_next(recording: Recording, first: int, log_probabilities: Floats) -> None:
    """Row i stands after token `first` + i, where there is one."""
    target, rows = _place(recording.next_ids, first, log_probabilities)
    k = target.shape[1]
    best = np.argpartition(-rows, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(rows, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    target[...] = np.take_along_axis(best, order, axis=1)
    place, _ = _place(recording.next_probabilities, first, log_probabilities)
    place[...] = np.exp(np.take_along_axis(values, order, axis=1))


def _keep_layer(recording: Recording, number: int, first: int, call: LayerCall) -> None:
    assert call.saved is not None
    everything = {"h": call.y, "c": call.saved.c}
    for name, array in recording.states.items():
        target, rows = _place(array[number], first, everything[name])
        target[...] = rows
    # A plain RNN has one gate, its state, which is not kept a second time.
    for block, array in enumerate(recording.gates.values()):
        H = array.shape[2]
        target, rows = _place(array[number], first, call.saved.gates)
        target[...] = rows[:, block * H : (block + 1) * H]


def _place(array: Floats, first: int, rows: Floats | None) -> tuple[Floats, Floats]:
    """The part of an array where rows belong that begin at `first`, and those rows."""
    assert rows is not None
    skipped = max(0, -first)
    target = array[first + skipped : first + len(rows)]
    return target, rows[skipped : skipped + len(target)]
