"""Sampling: drawing text from a language model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from .._kernels.records import Draw
from ..backend import kernels
from ..checks import check_int, check_memory, check_positive, check_real
from ..text import Vocabulary
from ..text.vocabulary import Ids
from .network import Network, State

MAX_SAMPLE_LENGTH = 10**5  # of samples that a training run shows; longer ones are implausible
_CHUNK = 64, 1024  # fewest and most tokens drawn at a time when streaming
_CHUNK_WORK = 1 << 26  # multiply-adds per chunk within these limits: a few milliseconds
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
    """Settings for the choice of the next token.

    The penalty acts first, then the temperature, then the filters: `top_k`, `top_p` among the
    tokens that are left, and `min_p` among those. At least one token is kept. Each parameter is an
    attribute, too.

    Parameters
    ----------
    temperature : float
        Divisor of the logits. Below 1 likely tokens become likelier still and texts more
        predictable, above 1 texts become more surprising. 0 takes the most likely token.
    top_k : int
        Keep only the k most likely tokens; 0 keeps all.
    top_p : float
        Keep the smallest set of tokens whose total probability reaches p [1]_; 1 keeps all.
    min_p : float
        Keep tokens whose probability is at least this fraction of the highest [2]_; 0 keeps all.
    repetition_penalty : float
        Above 1 it makes tokens that have already occurred less likely: their logits are divided by
        it where they are positive, and multiplied where they are negative [3]_.
    allow_unk : bool
        Whether the unknown token may be drawn.

    Raises
    ------
    TypeError, ValueError
        An unusable value, by name.

    References
    ----------
    .. [1] A. Holtzman et al., "The curious case of neural text degeneration", ICLR 2020.
    .. [2] M. Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent LLM
           outputs", ICLR 2025.
    .. [3] N. Keskar et al., "CTRL: a conditional transformer language model for controllable
           generation", 2019.

    Examples
    --------
    >>> import fastseq
    >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
    >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
    >>> greedy = lm.sample("to", length=10, temperature=0)  # the fields are keywords of `sample`
    >>> greedy == lm.sample("to", length=10, top_k=1)
    True
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
        check_positive("repetition_penalty", self.repetition_penalty)


class Samples(NamedTuple):
    """Sampled tokens, as `LanguageModel.sample_tokens` returns them.

    Attributes
    ----------
    ids : ndarray of shape (count, length), int64
        The tokens.
    log_probs : ndarray of shape (count, length), float64
        Log-probability in nats of each token under the model itself, without temperature and
        filters.

    Examples
    --------
    >>> import fastseq
    >>> lm = fastseq.LanguageModel(fastseq.Vocabulary.bytes(), hidden_size=8)
    >>> drawn = lm.sample_tokens([7], length=10, count=3, seed=1)
    >>> drawn.ids.shape, drawn.log_probs.shape
    ((3, 10), (3, 10))
    """

    ids: Ids
    log_probs: NDArray[np.float64]


class Decoder:
    """Draws tokens for the rows of a batch, each given its own history.

    Parameters
    ----------
    network : Network
    prime : ndarray of shape (n,), int64
        Tokens that every row has read; at least one.
    count : int
        Rows of the batch.
    settings : Sampling
    vocabulary : Vocabulary
        Provides the unknown token, and the end of a document, which does not count as a
        repetition.
    seed : int or None
    state : State, optional
        State of one row before the prime; by default the network's `start_state`.
    allowed : ndarray of shape (V,), bool, optional
        Tokens that may be drawn; all by default, apart from the unknown token.
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
        allowed: NDArray[np.bool_] | None = None,
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
        self._draw = Draw(
            settings.temperature,
            min(settings.top_k, size),  # whatever a kernel's integers hold
            settings.top_p,
            settings.min_p,
            settings.repetition_penalty,
            _allowed_tokens(vocabulary, settings, allowed),
        )
        weights = [w.w_hh.data for w in network.layers] + [network.head_weight.data]
        work = sum(w.size for w in weights)
        self.chunk = min(max(_CHUNK_WORK // work, _CHUNK[0]), _CHUNK[1])
        self._seen = None
        if settings.repetition_penalty != 1.0:
            self._seen = np.zeros((count, size), np.uint8)
            self._seen[:, prime[prime != vocabulary.eod_id]] = 1

    def draw(self, length: int) -> Samples:
        """Draw the next `length` tokens of every row."""
        count = len(self._last)
        check_memory("count, length", count * length * _TOKEN_BYTES)
        tokens = np.empty((length + 1, count), np.int64)
        tokens[0] = self._last
        log_probs = np.empty((length, count))
        uniforms = self._random.random((length, count))
        self._packed.decode(self._h, self._c, tokens, log_probs, uniforms, self._draw, self._seen)
        self._last = tokens[-1]
        return Samples(tokens[1:].T, log_probs.T)


def _allowed_tokens(
    vocabulary: Vocabulary, settings: Sampling, allowed: NDArray[np.bool_] | None
) -> NDArray[np.uint8] | None:
    """1 for each token that may be drawn, 0 for the others; None for all."""
    size, unk_id = len(vocabulary), vocabulary.unk_id
    if allowed is not None and (allowed.shape != (size,) or allowed.dtype != np.bool_):
        raise ValueError(
            f"allowed: expected bool of shape ({size},), got {allowed.dtype} of {allowed.shape}"
        )
    without_unk = unk_id is not None and not settings.allow_unk and size > 1
    if allowed is None and not without_unk:
        return None
    mask = np.ones(size, np.uint8) if allowed is None else allowed.astype(np.uint8)
    if without_unk:
        mask[unk_id] = 0
    if not mask.any():
        raise ValueError("allowed: expected at least one token, got none")
    return mask


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
    """Compute the state after reading ids, window by window so that memory stays bounded."""
    state = network.start_state() if state is None else state
    for start in range(0, len(ids), _PRIME_WINDOW):
        state = network.advance(ids[start : start + _PRIME_WINDOW, None], state)
    return state


def end_token(vocabulary: Vocabulary) -> int | None:
    """The token after which a text starts: the end of a document, else of a line, or None."""
    if vocabulary.eod_id is not None:
        return vocabulary.eod_id
    ends = vocabulary.lookup("\n")
    known = ends[ends >= 0]
    return int(known[0]) if len(known) else None


def start_token(vocabulary: Vocabulary) -> int:
    """The token that is read before a text: its `end_token`, else the first known token."""
    end = end_token(vocabulary)
    if end is not None:
        return end
    return 1 if vocabulary.unk_id == 0 and len(vocabulary) > 1 else 0


def prime_tokens(vocabulary: Vocabulary, prime: str) -> tuple[Ids, Ids]:
    """Ids of a prime text, without and with the start token before them."""
    ids = vocabulary.encode(prime)
    return ids, np.concatenate([[start_token(vocabulary)], ids])


def continuation(vocabulary: Vocabulary, prime: Ids, drawn: Iterable[int]) -> Iterator[str]:
    """Decode `drawn` as the continuation of the prime, up to the document's end."""
    drawn = takewhile(lambda i: i != vocabulary.eod_id, drawn)
    # The prime is decoded, too, for its context; there is one piece per id, so its pieces can
    # be skipped.
    return islice(vocabulary.decode_stream(chain(prime.tolist(), drawn)), len(prime), None)


def until_stop(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield the pieces up to the stop string that is complete first.

    A tail that may be the beginning of a stop string is held back until that is decided.
    """
    if not stop:
        yield from pieces
        return
    longest = max(map(len, stop))
    text = ""
    for piece in pieces:
        text += piece
        found = [(at + len(string), at) for string in stop if (at := text.find(string)) >= 0]
        if found:
            _, begin = min(found)
            yield text[:begin]
            return
        keep = min(len(text), longest - 1)
        yield text[: len(text) - keep]
        text = text[len(text) - keep :]
    yield text


def stop_strings(stop: str | Sequence[str]) -> Sequence[str]:
    """Stop strings as a sequence; ValueError for an empty one."""
    strings = [stop] if isinstance(stop, str) else list(stop)
    if not all(isinstance(string, str) and string for string in strings):
        raise ValueError(f"stop: expected strings that are not empty, got {stop!r}")
    return strings


def generate(
    network: Network,
    vocabulary: Vocabulary,
    prime: str,
    length: int | None,
    stop: str | Sequence[str],
    seed: int | None,
    settings: Sampling,
) -> Iterator[str]:
    """Generate as described at `LanguageModel.generate`."""
    stops = stop_strings(stop)
    if length is not None:
        check_int("length", length, 0)
    prime_ids, read = prime_tokens(vocabulary, prime)
    decoder = Decoder(network, read, 1, settings, vocabulary, seed)
    text = continuation(vocabulary, prime_ids, _drawn(decoder, length))
    pieces = chain([prime], until_stop(text, stops))
    return (piece for piece in pieces if piece)


def _drawn(decoder: Decoder, length: int | None) -> Iterator[int]:
    """Tokens of a decoder's single row, drawn in chunks; endless with length None."""
    left = length
    while left is None or left > 0:
        count = decoder.chunk if left is None else min(decoder.chunk, left)
        yield from decoder.draw(count).ids[0].tolist()
        left = None if left is None else left - count


def sample_many(
    network: Network,
    vocabulary: Vocabulary,
    count: int,
    prime: str,
    length: int,
    stop: str | Sequence[str],
    seed: int | None,
    settings: Sampling,
    progress: Callable[[int, int], object] | None = None,
) -> list[str]:
    """Sample as described at `LanguageModel.samples`."""
    stops = stop_strings(stop)
    check_int("count", count, 1)
    check_int("length", length, 0)
    prime_ids, read = prime_tokens(vocabulary, prime)
    decoder = Decoder(network, read, count, settings, vocabulary, seed)
    check_memory("count, length", count * length * _TOKEN_BYTES)
    rows: list[list[int]] = [[] for _ in range(count)]
    for start in range(0, length, decoder.chunk):
        drawn = decoder.draw(min(decoder.chunk, length - start)).ids
        for row, ids in zip(rows, drawn.tolist(), strict=True):
            row.extend(ids)
        if progress is not None:
            progress(count * len(rows[0]), count * length)
    texts = (continuation(vocabulary, prime_ids, row) for row in rows)
    return [prime + "".join(until_stop(text, stops)) for text in texts]
