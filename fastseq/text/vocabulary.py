"""Vocabularies: conversion of text to integers and back, by bytes, characters or words."""

from __future__ import annotations

import codecs
import dataclasses
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, pairwise, repeat
from typing import ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_int
from .reading import TextError
from .spelling import CODE_POINTS, Spelling
from .words import count_words, join_words, split_words, whole_words

Ids: TypeAlias = NDArray[np.int64]
Policy: TypeAlias = Literal["unk", "error", "skip"]

UNK, EOS, EOD = "<unk>", "<eos>", "<eod>"
_BLOCK = 1 << 20
_BYTE_NAMES = tuple(bytes([i]).decode("ascii", "backslashreplace") for i in range(256))


@dataclass(frozen=True, repr=False)
class Vocabulary(ABC):
    """A fixed list of tokens; the id of each is its index in the list.

    Build one with `bytes`, `characters`, `words` or `codes`. Vocabularies are immutable and
    hashable, and equal if they encode alike. ``len`` is the number of tokens.

    Parameters
    ----------
    tokens : tuple of str
        Display form of each token. Special tokens are identified by their id only: a text that
        spells out "<unk>", "<eos>" or "<eod>" consists of ordinary characters and words.
    unk_id : int or None
        Id of unknown symbols; None without one, in which case they get id 0.
    eod_id : int or None
        Id of the end of a document; see `with_documents`.

    Attributes
    ----------
    level : {"byte", "char", "word"}
        What a token stands for.
    text_errors : {"strict", "surrogateescape"}
        Error handling when files are read for this vocabulary; see `read_chunks`.

    Raises
    ------
    TextError
        Tokens and ids that do not make a vocabulary.

    Examples
    --------
    >>> import fastseq
    >>> vocabulary = fastseq.Vocabulary.characters("hello world")
    >>> vocabulary.encode("hold!").tolist()  # "!" is unknown
    [4, 6, 5, 2, 0]
    >>> vocabulary.decode([4, 6, 5, 2])
    'hold'
    """

    level: ClassVar[str]
    text_errors: ClassVar[str] = "strict"

    tokens: tuple[str, ...]
    unk_id: int | None = None
    eod_id: int | None = field(default=None, kw_only=True)

    @staticmethod
    def bytes() -> ByteVocabulary:
        """Build the vocabulary of the 256 bytes: any text as UTF-8, any file as it is.

        Returns
        -------
        ByteVocabulary
            Without an unknown token.

        Examples
        --------
        >>> import fastseq
        >>> fastseq.Vocabulary.bytes().encode("café").tolist()
        [99, 97, 102, 195, 169]
        """
        return ByteVocabulary(_BYTE_NAMES)

    @staticmethod
    def characters(text: str | Iterable[str], min_count: int = 1) -> CharacterVocabulary:
        """Build the vocabulary of all characters of a text, by code point, after `<unk>` (id 0).

        Parameters
        ----------
        text : str or iterable of str
            A text or its pieces.
        min_count : int
            Leave out characters seen less often.

        Returns
        -------
        CharacterVocabulary

        Raises
        ------
        TypeError, ValueError
            `min_count` is not an integer, or below 1.
        TextError
            The text is empty.

        Examples
        --------
        >>> import fastseq
        >>> fastseq.Vocabulary.characters("banana", min_count=2).tokens
        ('<unk>', 'a', 'n')
        """
        check_int("min_count", min_count, 1)
        counts = _count_characters(text)
        if not counts.any():
            raise TextError("text: expected at least one character, got none")
        seen = [chr(code) for code in np.flatnonzero(counts >= min_count)]
        return CharacterVocabulary((UNK, *seen), unk_id=0)

    @staticmethod
    def codes(size: int = 256) -> CharacterVocabulary:
        """Build the vocabulary of the first characters by code point, without an unknown token.

        Characters from `size` on become 0.

        Parameters
        ----------
        size : int
            Number of characters; 128 for ASCII.

        Returns
        -------
        CharacterVocabulary

        Raises
        ------
        TypeError, ValueError
            `size` is not an integer, or below 1.
        """
        check_int("size", size, 1)
        return CharacterVocabulary(tuple(map(chr, range(size))))

    @staticmethod
    def words(
        text: str | Iterable[str],
        max_size: int | None = 5000,
        lowercase: bool = False,
        min_count: int = 1,
        *,
        eos: bool = False,
        unk: bool = True,
    ) -> WordVocabulary:
        """Build the vocabulary of a text's most frequent words; of equals those seen first.

        Parameters
        ----------
        text : str or iterable of str
            A text or its pieces, which may split words.
        max_size : int or None
            Largest number of tokens, including special ones; None for no limit.
        lowercase : bool
            Convert text to lower case, here and when encoding.
        min_count : int
            Leave out words seen less often.
        eos : bool
            Encode the end of every line as a special token `<eos>`, the last id.
        unk : bool
            Include a special token `<unk>` with id 0. Without it unknown words are encoded as
            the most frequent word, which has id 0.

        Returns
        -------
        WordVocabulary

        Raises
        ------
        TypeError, ValueError
            `min_count` is not an integer, or below 1; `max_size` leaves no room for a word.
        TextError
            The text has no words.

        Examples
        --------
        >>> import fastseq
        >>> text = "To be, or not to be."
        >>> fastseq.Vocabulary.words(text, max_size=4, lowercase=True).tokens
        ('<unk>', 'to', 'be,', 'or')
        """
        check_int("min_count", min_count, 1)
        special = unk + eos
        if max_size is not None and max_size <= special:
            raise ValueError(f"max_size: expected more than {special}, got {max_size}")
        counts = count_words(_pieces(text), lowercase)
        if not counts:
            raise TextError("text: expected at least one word, got none")
        room = None if max_size is None else max_size - special
        frequent = [word for word, n in counts.most_common(room) if n >= min_count]
        tokens = (*[UNK] * unk, *frequent, *[EOS] * eos)
        return WordVocabulary(
            tokens, 0 if unk else None, len(tokens) - 1 if eos else None, lowercase
        )

    def with_documents(self) -> Self:
        """Return this vocabulary with a further token, the last id, for the end of a document.

        `Corpus` appends it to each document; no text is encoded as it. A sample ends when it is
        drawn, and it decodes to nothing.

        Returns
        -------
        Vocabulary
            This one if it has such a token.
        """
        if self.eod_id is not None:
            return self
        return dataclasses.replace(self, tokens=(*self.tokens, EOD), eod_id=len(self))

    def __post_init__(self) -> None:
        """Refuse invalid tokens and ids, which a damaged file may contain."""
        if not (isinstance(self.tokens, tuple) and all(isinstance(t, str) for t in self.tokens)):
            raise TextError("tokens: expected strings")
        if not self.tokens:
            raise TextError("tokens: expected at least one, got none")
        for name, value in self._special_ids.items():
            if type(value) is not int or not 0 <= value < len(self):
                raise TextError(f"{name}: expected 0 to {len(self) - 1}, got {value!r}")
        if len(self._ids) + len(self._special_ids) != len(self):
            raise TextError("tokens: expected each only once")

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"<Vocabulary: {len(self)} tokens, level {self.level!r}>"

    @property
    def _special_ids(self) -> dict[str, int]:
        ids = {"unk_id": self.unk_id, "eod_id": self.eod_id}
        return {name: value for name, value in ids.items() if value is not None}

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Id of every token that is not special."""
        special = set(self._special_ids.values())
        return {token: i for i, token in enumerate(self.tokens) if i not in special}

    @abstractmethod
    def lookup(self, text: str) -> Ids:
        """Look up the ids of the text's symbols, -1 for those not in the vocabulary.

        Parameters
        ----------
        text : str
            A text.

        Returns
        -------
        ndarray of shape (n,), int64
            An id for each byte, character or word.
        """

    @abstractmethod
    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Decode ids one by one: yield a piece of text, possibly empty, per id.

        The bytes of an incomplete character are held back; if the stream ends with some, one
        more piece follows.

        Parameters
        ----------
        ids : iterable of int
            From 0 to ``len(vocabulary)`` − 1.

        Yields
        ------
        str
        """

    @abstractmethod
    def _symbols(self, text: str) -> Sequence[str | None]:
        """The symbols for which `lookup` finds ids, in the same order."""

    def _whole(self, chunks: Iterable[str]) -> Iterable[str]:
        """Divide the same text anew, so that no symbol is split between two pieces."""
        return chunks

    def encode(self, text: str, policy: Policy = "unk") -> Ids:
        """Encode a text.

        Parameters
        ----------
        text : str
            A text.
        policy : {"unk", "error", "skip"}
            Treatment of symbols that are not in the vocabulary: encode them as `unk_id` (0
            without one), raise a TextError, or leave them out.

        Returns
        -------
        ndarray of shape (n,), int64

        Raises
        ------
        TextError
            With "error" for a symbol that is not in the vocabulary.
        ValueError
            An unknown `policy`.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.words("to be or not to be")
        >>> vocabulary.encode("be brave").tolist(), vocabulary.encode("be brave", "skip").tolist()
        ([2, 0], [2])
        """
        return self._encode(text, policy)[0]

    def encode_stream(
        self, chunks: Iterable[str], policy: Policy = "unk"
    ) -> Iterator[tuple[Ids, int]]:
        """Encode a text piece by piece.

        Parameters
        ----------
        chunks : iterable of str
            Pieces of a text; they may split words.
        policy : {"unk", "error", "skip"}
            Treatment of symbols that are not in the vocabulary; see `encode`.

        Yields
        ------
        ids : ndarray of shape (n,), int64
        unknown : int
            Number of symbols in this piece that are not in the vocabulary.

        Raises
        ------
        TextError
            With "error" for a symbol that is not in the vocabulary.
        ValueError
            An unknown `policy`.
        """
        for chunk in self._whole(chunks):
            yield self._encode(chunk, policy)

    def _encode(self, text: str, policy: Policy) -> tuple[Ids, int]:
        if policy not in get_args(Policy):
            raise ValueError(f"policy: expected 'unk', 'error' or 'skip', got {policy!r}")
        ids = self.lookup(text)
        unknown = ids < 0
        count = int(np.count_nonzero(unknown))
        if not count:
            return ids, 0
        if policy == "error":
            symbol = self._symbols(text)[int(unknown.argmax())]
            raise TextError(f"text: {symbol!r} is not among the vocabulary's {len(self)} tokens")
        if policy == "skip":
            return ids[~unknown], count
        ids[unknown] = self.unk_id or 0
        return ids, count

    def decode(self, ids: ArrayLike) -> str:
        """Decode ids to text.

        Parameters
        ----------
        ids : array_like of int, of any shape
            Read in C order.

        Returns
        -------
        str

        Raises
        ------
        TypeError
            Not integers.
        ValueError
            For an id outside of the vocabulary.

        Examples
        --------
        >>> import fastseq
        >>> fastseq.Vocabulary.words("to be, or not to be").decode([1, 3, 4])
        'to or not'
        """
        array = np.asarray(ids).ravel()
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"ids: expected integers, got {array.dtype}")
        if array.size and not 0 <= array.min() <= array.max() < len(self):
            wrong = array[(array < 0) | (array >= len(self))][0]
            raise ValueError(f"ids: expected 0 to {len(self) - 1}, got {wrong}")
        return "".join(self.decode_stream(array.tolist()))

    def unknown_rate(self, ids: ArrayLike) -> float:
        """Return the fraction of ids that are `unk_id`.

        Parameters
        ----------
        ids : array_like of int, of any shape
            Tokens.

        Returns
        -------
        float
            0 to 1; 0 if there is no unknown token.
        """
        array = np.asarray(ids)
        if self.unk_id is None or not array.size:
            return 0.0
        return float(np.mean(array == self.unk_id))

    def spelling_bits(self, text: str) -> float | None:
        """Return the code length of the symbols of a text that are not in the vocabulary.

        A model gives an unknown symbol only the probability of `unk_id`, which says nothing
        about how it is spelt. Together with this length the text could be decoded. An unknown
        character takes log₂ 1,114,112 = 20.1 bits, one code point of all that there are; an
        unknown word as many as `Spelling` needs, which knows the words of the vocabulary.

        Parameters
        ----------
        text : str
            A text.

        Returns
        -------
        float or None
            In bits; 0 if all symbols are known. None if some are not and there is no
            `unk_id`, so that they cannot be told from known ones.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.words("the sea the ship")
        >>> vocabulary.spelling_bits("the sea"), vocabulary.spelling_bits("the heap") > 8
        (0.0, True)
        """
        unknown = self.lookup(text) < 0
        if not unknown.any():
            return 0.0
        if self.unk_id is None:
            return None
        counts = Counter(compress(self._symbols(text), unknown.tolist()))
        return sum(n * self._spelling_bits(symbol or "") for symbol, n in counts.items())

    def _spelling_bits(self, symbol: str) -> float:
        """Code length of one unknown symbol, beside that of `unk_id`."""
        return math.log2(CODE_POINTS)

    def character_count(self, text: str) -> int:
        """Return the number of characters that the text's tokens stand for.

        For words it is the length of the text with one space between two words, since tokens
        of words leave the amount of white space open.

        Parameters
        ----------
        text : str
            A text.

        Returns
        -------
        int
        """
        return len(text)

    def to_json(self) -> str:
        """Write everything that is needed to rebuild an equal vocabulary.

        Returns
        -------
        str
            One line of ASCII.
        """
        fields = dataclasses.asdict(self)
        if self.eod_id is None:  # keeps the fingerprints of older versions
            del fields["eod_id"]
        return json.dumps({"level": self.level} | fields, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Vocabulary:
        """Rebuild a vocabulary that `to_json` wrote.

        Parameters
        ----------
        text : str
            From `to_json`.

        Returns
        -------
        Vocabulary
            Equal to that one.

        Raises
        ------
        TextError
            For anything else.
        """
        try:
            fields = json.loads(text)
            kind = _KINDS[fields.pop("level")]
            return kind(**fields | {"tokens": tuple(fields["tokens"])})
        except TextError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise TextError(f"vocabulary: not written by to_json: {error!r}") from None

    def fingerprint(self) -> str:
        """Return a checksum of `to_json`.

        Returns
        -------
        str
            A SHA-256 in hexadecimal.
        """
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True, repr=False)
class ByteVocabulary(Vocabulary):
    """Bytes, usually of UTF-8; see `Vocabulary.bytes`.

    The ids are the bytes: ``bytes(ids)`` is the input of `lookup`. `decode` returns text, with
    U+FFFD for bytes that are not UTF-8.
    """

    level = "byte"
    text_errors = "surrogateescape"

    def __post_init__(self) -> None:
        if (self.tokens, self.unk_id, self.eod_id) not in (
            (_BYTE_NAMES, None, None),
            ((*_BYTE_NAMES, EOD), None, len(_BYTE_NAMES)),
        ):
            raise TextError("tokens: expected the 256 bytes and no unknown token")

    def lookup(self, text: str) -> Ids:
        try:
            return np.frombuffer(text.encode(errors=self.text_errors), np.uint8).astype(np.int64)
        except UnicodeEncodeError as error:
            symbol = text[error.start]
            raise TextError(f"text: {symbol!r} has no UTF-8 form ({error.reason})") from None

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for i in ids:
            ends = i == self.eod_id
            yield decoder.decode(b"" if ends else i.to_bytes(), final=ends)
        if rest := decoder.decode(b"", final=True):
            yield rest

    def _symbols(self, text: str) -> Sequence[str]:
        return [_BYTE_NAMES[i] for i in text.encode(errors=self.text_errors)]


@dataclass(frozen=True, repr=False)
class CharacterVocabulary(Vocabulary):
    """Unicode code points; see `Vocabulary.characters` and `Vocabulary.codes`."""

    level = "char"

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(len(token) != 1 for token in self._ids):
            raise TextError("tokens: expected single characters")

    @cached_property
    def _table(self) -> Ids:
        """Id by code point; the last entry is that of all higher code points."""
        codes = [ord(token) for token in self._ids]
        table = np.full(max(codes, default=-1) + 2, -1, np.int64)
        table[codes] = list(self._ids.values())
        return table

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        """Text by id: one character, U+FFFD for unknown, nothing for the end of a document."""
        special = {self.unk_id: "\ufffd", self.eod_id: ""}
        return tuple(special.get(i, token) for i, token in enumerate(self.tokens))

    def lookup(self, text: str) -> Ids:
        return self._table.take(_code_points(text), mode="clip")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        return map(self._texts.__getitem__, ids)

    def _symbols(self, text: str) -> Sequence[str]:
        return text


@dataclass(frozen=True, repr=False)
class WordVocabulary(Vocabulary):
    """Words between white space; see `Vocabulary.words`."""

    level = "word"

    eos_id: int | None = None
    lowercase: bool = False

    @property
    def _special_ids(self) -> dict[str, int]:
        special = super()._special_ids
        return special if self.eos_id is None else special | {"eos_id": self.eos_id}

    @cached_property
    def _words(self) -> tuple[str | None, ...]:
        """Argument of `join_words` for each id."""
        special = {self.eos_id: None, self.eod_id: ""}
        return tuple(special.get(i, token) for i, token in enumerate(self.tokens))

    @cached_property
    def _index(self) -> dict[str | None, int]:
        index: dict[str | None, int] = dict(self._ids.items())
        if self.eos_id is not None:
            index[None] = self.eos_id
        return index

    def lookup(self, text: str) -> Ids:
        symbols = self._symbols(text)
        return np.fromiter(map(self._index.get, symbols, repeat(-1)), np.int64, len(symbols))

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        return join_words(map(self._words.__getitem__, ids))

    def _symbols(self, text: str) -> Sequence[str | None]:
        return split_words(text, self.lowercase, self.eos_id is not None)

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self._ids)

    def _spelling_bits(self, symbol: str) -> float:
        return self._spelling.bits(symbol)

    def character_count(self, text: str) -> int:
        symbols = self._symbols(text)
        lines = symbols.count(None)
        words = len(symbols) - lines
        first_words = sum(a is None and b is not None for a, b in pairwise([None, *symbols]))
        return sum(map(len, filter(None, symbols))) + words - first_words + lines

    def _whole(self, chunks: Iterable[str]) -> Iterable[str]:
        return whole_words(chunks)


_KINDS: dict[str, type[Vocabulary]] = {
    kind.level: kind for kind in (ByteVocabulary, CharacterVocabulary, WordVocabulary)
}


def _pieces(text: str | Iterable[str]) -> Iterable[str]:
    """Divide a text into bounded pieces, so that counting takes little memory."""
    if not isinstance(text, str):
        return text
    return (text[start : start + _BLOCK] for start in range(0, len(text), _BLOCK))


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _count_characters(text: str | Iterable[str]) -> Ids:
    """Number of occurrences of each of the 1,114,112 code points."""
    counts = np.zeros(0x110000, np.int64)
    for piece in _pieces(text):
        found = np.bincount(_code_points(piece))
        counts[: len(found)] += found
    return counts
