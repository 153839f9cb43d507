"""Token streams: small ones in memory, large ones in memory-mapped files of the cache."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..storage.files import atomic_file, naming, read_checked_line, write_checked_line
from .vocabulary import Ids, Policy, Vocabulary

_BLOCK = 1 << 22  # tokens that are counted at a time
_PIECE = 1 << 16  # tokens that are written at a time, or more

Tokens: TypeAlias = NDArray[np.unsignedinteger[Any]]


def cache_dir() -> Path:
    """Return the folder for files that can be made again: encoded texts, downloads.

    Returns
    -------
    Path
        ``FASTSEQ_CACHE``, else "fastseq" in the user's cache.

    Examples
    --------
    >>> import os
    >>> from fastseq.text import cache_dir
    >>> os.environ["FASTSEQ_CACHE"] = "elsewhere"
    >>> cache_dir().name
    'elsewhere'
    >>> del os.environ["FASTSEQ_CACHE"]
    """
    if chosen := os.environ.get("FASTSEQ_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fastseq"


@dataclass(frozen=True)
class TokenStream:
    """A stream of token ids, read-only.

    Attributes
    ----------
    tokens : ndarray of shape (n,), the smallest unsigned type that holds the vocabulary
    release : callable or None
        Returns the pages of a mapped file that have been read to the system.
    """

    tokens: Tokens
    release: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def count(self, token: int) -> int:
        """Number of times that a token occurs."""
        total = 0
        for start in range(0, len(self), _BLOCK):
            total += int(np.count_nonzero(self.tokens[start : start + _BLOCK] == token))
            if self.release is not None:
                self.release()
        return total

    def part(self, start: int, stop: int) -> TokenStream:
        """Slice of tokens `start` to `stop`, not copied."""
        return TokenStream(self.tokens[start:stop], self.release)


@dataclass(frozen=True)
class Encoded:
    """A stream, with statistics of its text.

    Attributes
    ----------
    stream : TokenStream
    unknown, symbols : int
        Symbols that are not in the vocabulary, and symbols in total.
    sha256 : str
        Checksum of the tokens' bytes.
    """

    stream: TokenStream
    unknown: int
    symbols: int
    sha256: str


class _Encoding:
    """One pass over documents: yields their tokens (once) and counts them."""

    def __init__(
        self, documents: Iterable[Iterable[str]], vocabulary: Vocabulary, policy: Policy
    ) -> None:
        self._documents, self._vocabulary, self._policy = documents, vocabulary, policy
        self._dtype = np.min_scalar_type(len(vocabulary) - 1)
        self._count = self._unknown = self._symbols = 0
        self._checksum = hashlib.sha256()

    def __iter__(self) -> Iterator[Tokens]:
        held: list[Ids] = []
        size = missing = 0
        for ids, unknown in self._pieces():  # as short as a word, where that is a document
            held.append(ids)
            size, missing = size + len(ids), missing + unknown
            if size >= _PIECE:
                yield self._counted(np.concatenate(held), missing)
                held, size, missing = [], 0, 0
        if held:
            yield self._counted(np.concatenate(held), missing)

    def _pieces(self) -> Iterator[tuple[Ids, int]]:
        """Ids with the number of unknown symbols; documents without any id have no end."""
        eod_id = self._vocabulary.eod_id
        end = None if eod_id is None else np.array([eod_id])
        for chunks in self._documents:
            empty = True
            for ids, unknown in self._vocabulary.encode_stream(chunks, self._policy):
                empty = empty and not len(ids)
                yield ids, unknown
            if end is not None and not empty:
                yield end, 0

    def _counted(self, ids: Ids, unknown: int) -> Tokens:
        tokens: Tokens = ids.astype(self._dtype)
        self._count += len(tokens)
        self._unknown += unknown
        self._symbols += len(tokens) + unknown * (self._policy == "skip")
        self._checksum.update(tokens.data)
        return tokens

    def facts(self) -> dict[str, Any]:
        """Everything beside the tokens' bytes, as values for JSON."""
        return {
            "dtype": self._dtype.str,
            "count": self._count,
            "unknown": self._unknown,
            "symbols": self._symbols,
            "sha256": self._checksum.hexdigest(),
        }


def _encoded(
    tokens: Tokens, facts: dict[str, Any], release: Callable[[], None] | None = None
) -> Encoded:
    stream = TokenStream(tokens, release)
    return Encoded(stream, facts["unknown"], facts["symbols"], facts["sha256"])


def encode_in_memory(
    documents: Iterable[Iterable[str]], vocabulary: Vocabulary, policy: Policy
) -> Encoded:
    """Encode documents, each a sequence of pieces of text, into an array."""
    encoding = _Encoding(documents, vocabulary, policy)
    blocks = list(encoding)
    facts = encoding.facts()
    tokens = np.concatenate(blocks) if blocks else np.empty(0, facts["dtype"])
    tokens.flags.writeable = False
    return _encoded(tokens, facts)


def encode_cached(
    key: str, documents: Iterable[Iterable[str]], vocabulary: Vocabulary, policy: Policy
) -> Encoded:
    """Encode documents into a file of the cache, or use the file of an earlier call.

    If the cache is not writable, the file is a temporary one.

    Parameters
    ----------
    key : str
        Checksum of everything that the tokens depend on. A file that does not match its own
        checksum is written again.
    """
    folder = cache_dir() / "tokens"
    data, about = folder / f"{key}.bin", folder / f"{key}.json"
    facts = _read_facts(data, about)
    if facts is None:
        encoding = _Encoding(documents, vocabulary, policy)
        if not _is_writable(folder):
            return _encode_unnamed(encoding)
        with atomic_file(data) as file:
            for tokens in encoding:
                file.write(tokens.data)
        facts = encoding.facts()
        write_checked_line(about, json.dumps(facts).encode())
    with open(data, "rb") as file:
        return _map(file, facts)


def _is_writable(folder: Path) -> bool:
    """Whether files can be created in the folder, which is created if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _encode_unnamed(encoding: _Encoding) -> Encoded:
    """Encode into a file without a name, which the system removes after its last use."""
    with naming(tempfile.gettempdir()), tempfile.TemporaryFile() as file:
        for tokens in encoding:
            file.write(tokens.data)
        file.flush()
        return _map(file, encoding.facts())


def vocabulary_cached(key: str, make: Callable[[], Vocabulary]) -> Vocabulary:
    """The cached vocabulary of this key, or a new one, which is then cached.

    If the cache cannot be read or written, the vocabulary is built each time.
    """
    path = cache_dir() / "vocabularies" / f"{key}.json"
    with suppress(OSError):
        if (line := read_checked_line(path)) is not None:
            return Vocabulary.from_json(line.decode())
    vocabulary = make()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_checked_line(path, vocabulary.to_json().encode())
    return vocabulary


def _read_facts(data: Path, about: Path) -> dict[str, Any] | None:
    """Facts about a file of tokens; None unless both files exist and are undamaged."""
    try:
        line = read_checked_line(about)
        if line is None:
            return None
        facts = json.loads(line)
        with open(data, "rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"]
    except OSError:  # missing or unreadable
        return None
    return facts if whole else None


def _map(file: IO[bytes], facts: dict[str, Any]) -> Encoded:
    dtype = np.dtype(facts["dtype"])
    if not facts["count"]:  # an empty file cannot be mapped
        return _encoded(np.empty(0, dtype), facts)
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    release = None
    if sys.platform != "win32":
        release = partial(pages.madvise, mmap.MADV_DONTNEED)
    return _encoded(np.frombuffer(pages, dtype), facts, release)
