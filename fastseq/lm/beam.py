"""Beam search: the most likely continuations of a text."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checks import check_int
from ..text import Vocabulary
from ..text.vocabulary import Ids
from .network import Network
from .sampling import continuation, prime_tokens, read_prime


class Beam(NamedTuple):
    """A text that `LanguageModel.beam_search` has found.

    Attributes
    ----------
    text : str
        The prime and what follows.
    log_prob : float
        Log-probability in nats of everything after the prime, its end included.

    Examples
    --------
    >>> import fastseq
    >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
    >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
    >>> (beam,) = lm.beam_search("to", length=4, beams=1)
    >>> len(beam.text), beam.log_prob < 0
    (6, True)
    """

    text: str
    log_prob: float


def beam_search(
    network: Network, vocabulary: Vocabulary, prime: str, length: int, beams: int, allow_unk: bool
) -> list[Beam]:
    """Search as described at `LanguageModel.beam_search`."""
    check_int("length", length, 1)
    check_int("beams", beams, 1)
    prime_ids, read = prime_tokens(vocabulary, prime)
    state = read_prime(network, read[:-1])
    last, scores, drawn = read[-1:], np.zeros(1), np.empty((1, 0), np.int64)
    for _ in range(length):
        log_probs, state = network.step(last, state)
        _restrict(log_probs, drawn, vocabulary, allow_unk)
        rows, last, scores = _best(scores[:, None] + log_probs, beams)
        state, drawn = state.rows(rows), np.column_stack([drawn[rows], last])
    texts = (continuation(vocabulary, prime_ids, row) for row in drawn.tolist())
    return [
        Beam(prime + "".join(text), float(score))
        for text, score in zip(texts, scores, strict=True)
    ]


def _restrict(log_probs: NDArray[Any], drawn: Ids, vocabulary: Vocabulary, unk: bool) -> None:
    """Exclude the unknown token unless `unk`; let a document that has ended stay as it is."""
    unk_id, eod_id = vocabulary.unk_id, vocabulary.eod_id
    if not unk and unk_id is not None and len(vocabulary) > 1:
        log_probs[:, unk_id] = -np.inf
    if eod_id is not None:
        ended = (drawn == eod_id).any(axis=1)
        log_probs[ended] = -np.inf
        log_probs[ended, eod_id] = 0.0


def _best(scores: NDArray[Any], beams: int) -> tuple[Ids, Ids, NDArray[Any]]:
    """Rows, tokens and scores of the best possible continuations, the best first."""
    totals = scores.reshape(-1)
    # A stable sort resolves ties by the smaller row and id.
    best = np.argsort(-totals, kind="stable")[:beams]
    best = best[totals[best] > -np.inf]
    rows, tokens = np.divmod(best, scores.shape[1])
    return rows, tokens, totals[best]
