"""Drawing text from a language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from .._kernels.records import Draw
from ..backend import kernels
from ..nn.checks import check_memory
from ..text import Vocabulary
from .config import check_int, check_real
from .network import Network, State

if TYPE_CHECKING:
    from .model import LanguageModel

Ids = NDArray[np.int64]

_CHUNK = 64, 1024  # least and most tokens drawn at a time when streaming
_CHUNK_WORK = 1 << 26  # multiply-adds of a chunk between them: milliseconds
_PRIME_WINDOW = 256
_TOKEN_BYTES = 24  # a token, its log-probability and a random number


class SamplingOptions(TypedDict, total=False):
    """Keyword arguments of the sampling methods: the fields of `Sampling`."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    allow_unk: bool


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes
    ----------
    temperature : float
        Divides the logits; 0 takes the most likely token.
    top_k : int
        Keep the k likeliest tokens; 0 keeps all.
    top_p : float
        Keep the smallest set of tokens whose probability reaches p; 1 keeps all.
    min_p : float
        Keep tokens at least this many times as likely as the likeliest; 0 keeps all.
    repetition_penalty : float
        Above 1 it makes tokens that have occurred less likely; see the `decode` kernel.
    allow_unk : bool
        Whether the unknown token may be drawn.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    allow_unk: bool = False

    def __post_init__(self) -> None:
        check_real("temperature", self.temperature, 0.0)
        check_int("top_k", self.top_k, 0)
        check_real("top_p", self.top_p, 0.0, 1.0)
        check_real("min_p", self.min_p, 0.0, 1.0)
        check_real("repetition_penalty", self.repetition_penalty, 0.0)
        if self.repetition_penalty == 0.0:
            raise ValueError("repetition_penalty: expected more than 0, got 0.0")


class Samples(NamedTuple):
    """Drawn tokens.

    Attributes
    ----------
    ids : ndarray of shape (count, length), int64
    log_probs : ndarray of shape (count, length)
        Of each token under the model itself: temperature and filters left out.
    """

    ids: Ids
    log_probs: NDArray[np.float64]


class Decoder:
    """Draws tokens for the rows of a batch, each from its own past.

    Parameters
    ----------
    network : Network
    prime : ndarray of shape (n,), int64
        Tokens that every row has read; at least one.
    count : int
        Rows of the batch.
    settings : Sampling
    vocabulary : Vocabulary
        Knows the token that `allow_unk` is about, and the one that ends documents: those before
        do not count as a repetition.
    seed : int or None
    state : State, optional
        Before the prime, of one row.
    """

    def __init__(
        self,
        network: Network,
        prime: Ids,
        count: int,
        settings: Sampling,
        vocabulary: Vocabulary,
        seed: int | None,
        state: State | None = None,
    ) -> None:
        if seed is not None:
            check_int("seed", seed, 0)
        state_bytes = 2 * network.config.num_layers * network.config.hidden_size
        check_memory("count", count * state_bytes * network.dtype.itemsize)
        self._random = np.random.default_rng(seed)
        self._packed = pack_network(network)
        state = read_prime(network, prime[:-1], state)
        self._h, self._c = state.rows(np.zeros(count, np.int64))
        self._last = np.full(count, prime[-1])
        size = network.vocabulary_size
        allowed = None
        if vocabulary.unk_id is not None and not settings.allow_unk and size > 1:
            allowed = np.ones(size, np.uint8)
            allowed[vocabulary.unk_id] = 0
        self._draw = Draw(
            settings.temperature,
            min(settings.top_k, size),  # whatever a kernel's integers hold
            settings.top_p,
            settings.min_p,
            settings.repetition_penalty,
            allowed,
        )
        weights = [w.w_hh for w in network.layers] + [network.head_weight]
        work = sum(w.size for w in weights)
        self.chunk = min(max(_CHUNK_WORK // work, _CHUNK[0]), _CHUNK[1])
        self._seen = None
        if settings.repetition_penalty != 1.0:
            self._seen = np.zeros((count, size), np.uint8)
            self._seen[:, prime[prime != vocabulary.eod_id]] = 1

    def draw(self, length: int) -> Samples:
        """The next `length` tokens of every row."""
        count = len(self._last)
        check_memory("count, length", count * length * _TOKEN_BYTES)
        tokens = np.empty((length + 1, count), np.int64)
        tokens[0] = self._last
        log_probs = np.empty((length, count))
        uniforms = self._random.random((length, count))
        self._packed.decode(
            self._h, self._c, tokens, log_probs, uniforms, self._draw, self._seen
        )
        self._last = tokens[-1]
        return Samples(tokens[1:].T, log_probs.T)


def pack_network(network: Network) -> Any:
    """The network's weights in the form of the `decode` kernel, packed once."""
    first, *above = [layer.weights() for layer in network.layers]
    head = network.head_weight.data, network.head["bias"].data
    return kernels(network.dtype).PackedStack(
        network.layers[0].cell.id,
        [first._replace(w_ih=None), *above],  # the table takes its place
        network.token_table(),
        head,
    )


def read_prime(network: Network, ids: Ids, state: State | None = None) -> State:
    """The state after reading ids, in windows so that memory stays bounded."""
    for start in range(0, len(ids), _PRIME_WINDOW):
        state = network.advance(ids[start : start + _PRIME_WINDOW, None], state)
    return network.zero_state() if state is None else state


def start_token(vocabulary: Vocabulary) -> int:
    """What stands before a text: the end of a document, a line, or the first known token."""
    if vocabulary.eod_id is not None:
        return vocabulary.eod_id
    ends = vocabulary.lookup("\n")
    known = ends[ends >= 0]
    if len(known):
        return int(known[0])
    return 1 if vocabulary.unk_id == 0 and len(vocabulary) > 1 else 0


def prime_tokens(vocabulary: Vocabulary, prime: str) -> tuple[Ids, Ids]:
    """Ids of a prime text, and those that the model reads: behind the start token."""
    ids = vocabulary.encode(prime)
    return ids, np.concatenate([[start_token(vocabulary)], ids])


def continuation(vocabulary: Vocabulary, prime: Ids, drawn: Iterable[int]) -> Iterator[str]:
    """Pieces of the text of `drawn` as they read on from the prime, to the document's end."""
    drawn = takewhile(lambda i: i != vocabulary.eod_id, drawn)
    # One piece for each id, so those of the prime come first and can be left out.
    return islice(vocabulary.decode_stream(chain(prime.tolist(), drawn)), len(prime), None)


def until_stop(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """The pieces up to where a stop string begins: the one that is complete first.

    A tail that may be the beginning of a stop string is held back until that is decided.
    """
    if not stop:
        yield from pieces
        return
    longest = max(map(len, stop))
    text = ""
    for piece in pieces:
        text += piece
        found = [(at + len(word), at) for word in stop if (at := text.find(word)) >= 0]
        if found:
            _, begin = min(found)
            yield text[:begin]
            return
        keep = min(len(text), longest - 1)
        yield text[: len(text) - keep]
        text = text[len(text) - keep :]
    yield text


def check_stop(stop: str | Sequence[str]) -> Sequence[str]:
    words = [stop] if isinstance(stop, str) else list(stop)
    if not all(isinstance(word, str) and word for word in words):
        raise ValueError(f"stop: expected strings that are not empty, got {stop!r}")
    return words


def generate(
    lm: LanguageModel,
    prime: str,
    length: int | None,
    stop: str | Sequence[str],
    seed: int | None,
    settings: Sampling,
) -> Iterator[str]:
    """See `LanguageModel.generate`."""
    words = check_stop(stop)
    if length is not None:
        check_int("length", length, 0)
    shown, read = prime_tokens(lm.vocabulary, prime)
    decoder = Decoder(lm, read, 1, settings, lm.vocabulary, seed)

    def drawn() -> Iterator[int]:
        left = length
        while left is None or left > 0:
            count = decoder.chunk if left is None else min(decoder.chunk, left)
            yield from decoder.draw(count).ids[0].tolist()
            left = None if left is None else left - count

    def pieces() -> Iterator[str]:
        yield prime
        yield from until_stop(continuation(lm.vocabulary, shown, drawn()), words)

    return (piece for piece in pieces() if piece)


def sample_many(
    lm: LanguageModel,
    count: int,
    prime: str,
    length: int,
    stop: str | Sequence[str],
    seed: int | None,
    settings: Sampling,
) -> list[str]:
    """See `LanguageModel.samples`."""
    words = check_stop(stop)
    check_int("count", count, 1)
    check_int("length", length, 0)
    shown, read = prime_tokens(lm.vocabulary, prime)
    drawn = Decoder(lm, read, count, settings, lm.vocabulary, seed).draw(length)
    texts = (continuation(lm.vocabulary, shown, row) for row in drawn.ids.tolist())
    return [prime + "".join(until_stop(text, words)) for text in texts]
