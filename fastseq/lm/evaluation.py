"""Evaluation: how well a language model predicts a text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..text import Batches, Corpus, TextError, Vocabulary
from .network import Network
from .sampling import start_token
from .streams import Streams

WINDOW = 128
# A start without context costs about ten nats: with this many tokens, 0.001 nats per token.
_MIN_STREAM_TOKENS = 10_000


@dataclass(frozen=True)
class Evaluation:
    """A model's score on a text.

    Attributes
    ----------
    nats_per_token, bits_per_character, perplexity : float
    unknown_rate : float
        Fraction of the text's tokens that are unknown, 0 to 1.
    tokens : int
        Number of predicted tokens: all but the first.
    """

    nats_per_token: float
    bits_per_character: float
    perplexity: float
    unknown_rate: float
    tokens: int


def mean_loss(network: Network, batches: Batches, carry_state: bool = True) -> float:
    """Mean loss over all windows, in nats per token."""
    total, state = 0.0, None
    for inputs, targets in batches:
        loss, end = network.loss(inputs, targets, state)
        total, state = total + loss, end if carry_state else None
    return total / batches.token_count


def validation_batches(corpus: Corpus, max_streams: int) -> Batches | None:
    """Batches of the split "valid", or None without one.

    It is read in at most `max_streams` streams, each so long that its start without context
    hardly matters.
    """
    if "valid" not in corpus.splits:
        return None
    count = len(corpus.tokens("valid"))
    if count < 2:
        raise TextError(f"valid: expected at least 2 tokens, got {count}")
    streams = max(1, min(max_streams, count // _MIN_STREAM_TOKENS))
    return corpus.batches("valid", streams, min(WINDOW, (count - 1) // streams))


def evaluate(
    network: Network,
    vocabulary: Vocabulary,
    text: str | ArrayLike,
    carry_state: bool,
    batch_size: int,
    seq_length: int,
    overlap: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Evaluate as described at `LanguageModel.evaluate`."""
    ids = as_tokens(vocabulary, text)
    if isinstance(text, str) and vocabulary.eod_id is not None:
        ids = np.append(ids, vocabulary.eod_id)
    if len(ids) < 2:
        raise ValueError(f"text: expected at least 2 tokens, got {len(ids)}")
    streams = Streams(ids, batch_size, overlap if carry_state else 0)
    nats = streams.mean_loss(network, seq_length, carry_state, progress)
    characters = len(text if isinstance(text, str) else vocabulary.decode(ids))
    bits = nats * len(ids) / math.log(2)
    return Evaluation(
        nats_per_token=nats,
        bits_per_character=bits / characters if characters else math.inf,
        perplexity=perplexity(nats),
        unknown_rate=vocabulary.unknown_rate(ids),
        tokens=len(ids) - 1,
    )


def score(network: Network, vocabulary: Vocabulary, text: str | ArrayLike) -> NDArray[np.float64]:
    """Score as described at `LanguageModel.score`."""
    ids = as_tokens(vocabulary, text)
    inputs = np.concatenate([[start_token(vocabulary)], ids[:-1]])
    log_probs, state = np.empty(len(ids)), None
    for start in range(0, len(ids), WINDOW):
        part = slice(start, start + WINDOW)
        losses, state = network.losses(inputs[part, None], ids[part, None], state)
        log_probs[part] = -losses[:, 0]
    return log_probs


def as_tokens(vocabulary: Vocabulary, text: str | ArrayLike) -> NDArray[np.int64]:
    """Encode a text; an array of ids is returned as int64."""
    if isinstance(text, str):
        return vocabulary.encode(text)
    ids = np.asarray(text)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise TypeError(
            f"text: expected str or integers of shape (n,), got {ids.dtype} {ids.shape}"
        )
    return ids.astype(np.int64)


def perplexity(nats: float) -> float:
    """e^nats, or infinity beyond the range of a float."""
    return math.exp(nats) if nats < 709 else math.inf


def in_usual_unit(vocabulary: Vocabulary, split: str, nats: float) -> dict[str, float]:
    """Convert a loss to the level's usual unit, under its name in the metrics.

    The unit is perplexity for words, and bits per character or per byte otherwise.
    """
    if vocabulary.level == "word":
        return {f"{split}_perplexity": perplexity(nats)}
    unit = "character" if vocabulary.level == "char" else "byte"
    return {f"{split}_bits_per_{unit}": nats / math.log(2)}
