"""Evaluation: how well a language model predicts a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..text import Batches, Corpus, TextError, Vocabulary
from ..text.spelling import CODE_POINTS
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
    nats_per_token, perplexity : float
        Of the tokens, however an unknown one is spelt. They compare models with the same
        vocabulary only.
    bits_per_character : float or None
        Code length of the text by its characters, the spelling of unknown words and characters
        included (`Vocabulary.spelling_bits`), so that it compares models of bytes, characters
        and words. The end of a document counts as a character, like the end of a line. None
        where it is impossible: without any character, and with unknown symbols that cannot be
        spelt because only their ids are given or the vocabulary has no token for them.
    unknown_rate : float
        Fraction of the text's tokens that are unknown, 0 to 1.
    tokens : int
        Number of predicted tokens.
    """

    nats_per_token: float
    bits_per_character: float | None
    perplexity: float
    unknown_rate: float
    tokens: int


def mean_loss(network: Network, batches: Batches) -> float:
    """Mean loss over all windows, in nats per token."""
    total, state = 0.0, None
    for inputs, targets in batches:
        loss, state = network.loss(inputs, targets, state)
        total += loss
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
    text: str | Sequence[str] | ArrayLike,
    carry_state: bool,
    batch_size: int,
    seq_length: int,
    overlap: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Evaluate as described at `LanguageModel.evaluate`."""
    texts = _texts(text, vocabulary)
    if texts is None:
        ids = read = as_tokens(vocabulary, text)
    else:
        ids = _join(texts, vocabulary)
        read = np.concatenate([[start_token(vocabulary)], ids])
    if len(read) < 2:
        expected = "2 tokens" if texts is None else "1 token"
        raise ValueError(f"text: expected at least {expected}, got {len(ids)}")
    streams = Streams(read, batch_size, overlap if carry_state else 0)
    start = None if texts is None else network.start_state(streams.count)
    nats = streams.mean_loss(network, seq_length, carry_state, start, progress)
    return Evaluation(
        nats_per_token=nats,
        bits_per_character=_bits_per_character(vocabulary, texts, ids, nats),
        perplexity=perplexity(nats),
        unknown_rate=vocabulary.unknown_rate(ids),
        tokens=len(read) - 1,
    )


def _texts(text: str | Sequence[str] | ArrayLike, vocabulary: Vocabulary) -> list[str] | None:
    """The whole texts that are given, or None for ids."""
    if isinstance(text, str):
        return [text]
    if isinstance(text, list | tuple) and text and all(isinstance(t, str) for t in text):
        if vocabulary.eod_id is None:
            raise ValueError("text: expected one str, since the model knows no end of a document")
        return [t for t in text if isinstance(t, str)]
    return None


def _join(texts: list[str], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Ids of the texts, with the end of each document if the vocabulary has a token for it."""
    end = [] if vocabulary.eod_id is None else [vocabulary.eod_id]
    parts = [part for text in texts for part in (vocabulary.encode(text), end)]
    return np.concatenate(parts).astype(np.int64)


def _bits_per_character(
    vocabulary: Vocabulary, texts: list[str] | None, ids: NDArray[np.int64], nats: float
) -> float | None:
    """Bits per character of a text with these ids; see `Evaluation`."""
    if texts is None:
        spelling = [None if vocabulary.unknown_rate(ids) else 0.0]
        characters = len(vocabulary.decode(ids))
    else:
        spelling = [vocabulary.spelling_bits(text) for text in texts]
        characters = sum(map(vocabulary.character_count, texts))
    characters += int(np.count_nonzero(ids == vocabulary.eod_id))
    bits = [value for value in spelling if value is not None]
    if len(bits) < len(spelling) or not characters:
        return None
    return (nats * len(ids) / math.log(2) + sum(bits)) / characters


def score(network: Network, vocabulary: Vocabulary, text: str | ArrayLike) -> NDArray[np.float64]:
    """Score as described at `LanguageModel.score`."""
    ids = as_tokens(vocabulary, text)
    inputs = np.concatenate([[start_token(vocabulary)], ids[:-1]])
    log_probs, state = np.empty(len(ids)), network.start_state()
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


def in_usual_unit(
    vocabulary: Vocabulary, split: str, nats: float, unknown_rate: float | None
) -> dict[str, float]:
    """Convert a loss to the level's usual unit, under its name in the metrics.

    The unit is perplexity for words, and bits per character or per byte otherwise. Bits per
    character include the code points of unknown characters; without `unknown_rate`, the
    fraction of tokens that are unknown, they are left out.
    """
    if vocabulary.level == "word":
        return {f"{split}_perplexity": perplexity(nats)}
    if unknown_rate is None:
        return {}
    unit = "character" if vocabulary.level == "char" else "byte"
    spelling = unknown_rate * math.log2(CODE_POINTS)
    return {f"{split}_bits_per_{unit}": nats / math.log(2) + spelling}
