"""How well a language model predicts a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..text import Batches, Corpus, TextError, Vocabulary
from .network import Network
from .sampling import start_token

if TYPE_CHECKING:
    from .model import LanguageModel

WINDOW = 128
# A start without context costs some ten nats: a thousandth of a nat for each of so many tokens.
_LANE = 10_000


@dataclass(frozen=True)
class Evaluation:
    """A model's score on a text.

    Attributes
    ----------
    nats_per_token, bits_per_character, perplexity : float
    unknown_rate : float
        Share of the text's tokens that are unknown, 0 to 1.
    tokens : int
        Tokens predicted: all but the first.
    """

    nats_per_token: float
    bits_per_character: float
    perplexity: float
    unknown_rate: float
    tokens: int


def mean_loss(network: Network, batches: Batches, carry_state: bool = True) -> float:
    """Nats per token over all windows."""
    total, state = 0.0, None
    for inputs, targets in batches:
        loss, end = network.loss(inputs, targets, state)
        total, state = total + loss, end if carry_state else None
    return total / batches.token_count


def validation_batches(corpus: Corpus, most_lanes: int) -> Batches | None:
    """The split "valid" in lanes that are long enough for their cold start not to matter."""
    if "valid" not in corpus.splits:
        return None
    count = len(corpus.tokens("valid"))
    if count < 2:
        raise TextError(f"valid: expected at least 2 tokens, got {count}")
    lanes = max(1, min(most_lanes, count // _LANE))
    return corpus.batches("valid", lanes, min(WINDOW, (count - 1) // lanes))


def evaluate(
    lm: LanguageModel, text: str | ArrayLike, carry_state: bool, batch_size: int, seq_length: int
) -> Evaluation:
    """See `LanguageModel.evaluate`."""
    ids, eod_id = as_tokens(lm, text), lm.vocabulary.eod_id
    if isinstance(text, str) and eod_id is not None:
        ids = np.append(ids, eod_id)
    if len(ids) < 2:
        raise ValueError(f"text: expected at least 2 tokens, got {len(ids)}")
    lanes = min(batch_size, len(ids) - 1)
    batches = Batches(ids, lanes, min(seq_length, (len(ids) - 1) // lanes))
    nats = mean_loss(lm, batches, carry_state)
    characters = len(text if isinstance(text, str) else lm.vocabulary.decode(ids))
    bits = nats * len(ids) / math.log(2)
    return Evaluation(
        nats_per_token=nats,
        bits_per_character=bits / characters if characters else math.inf,
        perplexity=perplexity(nats),
        unknown_rate=lm.vocabulary.unknown_rate(ids),
        tokens=batches.token_count,
    )


def score(lm: LanguageModel, text: str | ArrayLike) -> NDArray[np.float64]:
    """See `LanguageModel.score`."""
    ids = as_tokens(lm, text)
    inputs = np.concatenate([[start_token(lm.vocabulary)], ids[:-1]])
    log_probs, state = np.empty(len(ids)), None
    for start in range(0, len(ids), WINDOW):
        part = slice(start, start + WINDOW)
        losses, state = lm.losses(inputs[part, None], ids[part, None], state)
        log_probs[part] = -losses[:, 0]
    return log_probs


def as_tokens(lm: LanguageModel, text: str | ArrayLike) -> NDArray[np.int64]:
    """Ids of a text, or ids as they are."""
    if isinstance(text, str):
        return lm.vocabulary.encode(text)
    ids = np.asarray(text)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise TypeError(
            f"text: expected str or integers of shape (n,), got {ids.dtype} {ids.shape}"
        )
    return ids.astype(np.int64)


def perplexity(nats: float) -> float:
    """e^nats, infinite where a float cannot hold it."""
    return math.exp(nats) if nats < 709 else math.inf


def in_usual_unit(vocabulary: Vocabulary, split: str, nats: float) -> dict[str, float]:
    """A loss as perplexity of words or as bits per character or byte, under its name."""
    if vocabulary.level == "word":
        return {f"{split}_perplexity": perplexity(nats)}
    unit = "character" if vocabulary.level == "char" else "byte"
    return {f"{split}_bits_per_{unit}": nats / math.log(2)}
