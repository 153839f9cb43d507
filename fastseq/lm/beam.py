"""Beam search: the likeliest continuations instead of a random one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .config import check_int
from .sampling import continuation, prime_tokens, read_prime

if TYPE_CHECKING:
    from .model import LanguageModel


class Beam(NamedTuple):
    """A text and the log-probability of what was added to the prime, its end included."""

    text: str
    log_prob: float


def beam_search(
    lm: LanguageModel, prime: str, length: int, beams: int, allow_unk: bool
) -> list[Beam]:
    """See `LanguageModel.beam_search`."""
    check_int("length", length, 1)
    check_int("beams", beams, 1)
    shown, read = prime_tokens(lm.vocabulary, prime)
    state = read_prime(lm, read[:-1])
    last, scores = read[-1:], np.zeros(1)
    drawn, eod_id = np.empty((1, 0), np.int64), lm.vocabulary.eod_id
    for _ in range(length):
        log_probs, state = lm.step(last, state)
        if not allow_unk and lm.vocabulary.unk_id is not None and len(lm.vocabulary) > 1:
            log_probs[:, lm.vocabulary.unk_id] = -np.inf
        if eod_id is not None:  # a text that has ended stays as it is
            ended = (drawn == eod_id).any(axis=1)
            log_probs[ended] = -np.inf
            log_probs[ended, eod_id] = 0.0
        totals = (scores[:, None] + log_probs).reshape(-1)
        # Stable, so that ties go to the smaller row and id.
        best = np.argsort(-totals, kind="stable")[:beams]
        best = best[totals[best] > -np.inf]
        rows, last = np.divmod(best, log_probs.shape[1])
        scores, state = totals[best], state.rows(rows)
        drawn = np.column_stack([drawn[rows], last])
    texts = (continuation(lm.vocabulary, shown, row) for row in drawn.tolist())
    return [
        Beam(prime + "".join(text), float(score))
        for text, score in zip(texts, scores, strict=True)
    ]
