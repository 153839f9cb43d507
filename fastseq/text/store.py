"""Token streams: in memory where they are small, else a memory-mapped file in the cache."""

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

Tokens: TypeAlias = NDArray[np.unsignedinteger[Any]]


def cache_dir() -> Path:
    """Folder for what can be made again: `FASTSEQ_CACHE`, else fastseq in the user's cache."""
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
    documents : ndarray of int64
        Where each document begins.
    release : callable or None
        Hands the pages of a mapped file that have been read back to the system.
    """

    tokens: Tokens
    documents: NDArray[np.int64]
    release: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, start: int, stop: int) -> TokenStream:
        """Tokens `start` to `stop`, not copied, and the documents that begin among them."""
        inside = (self.documents >= start) & (self.documents < stop)
        return TokenStream(self.tokens[start:stop], self.documents[inside] - start, self.release)


@dataclass(frozen=True)
class Encoded:
    """A stream and what became of its text.

    Attributes
    ----------
    stream : TokenStream
    unknown, symbols : int
        How many symbols the text had, and how many of them the vocabulary has not.
    sha256 : str
        Checksum of the tokens' bytes.
    """

    stream: TokenStream
    unknown: int
    symbols: int
    sha256: str


class _Encoding:
    """One pass over documents: yields their tokens, to be iterated once, and keeps count."""

    def __init__(
        self, documents: Iterable[Iterable[str]], vocabulary: Vocabulary, policy: Policy
    ) -> None:
        self._documents, self._vocabulary, self._policy = documents, vocabulary, policy
        self._dtype = np.min_scalar_type(len(vocabulary) - 1)
        self._starts: list[int] = []
        self._count = self._unknown = self._symbols = 0
        self._checksum = hashlib.sha256()

    def __iter__(self) -> Iterator[Tokens]:
        eod_id = self._vocabulary.eod_id
        for chunks in self._documents:
            self._starts.append(self._count)
            for ids, unknown in self._vocabulary.encode_stream(chunks, self._policy):
                yield self._counted(ids, unknown)
            if eod_id is not None and self._count > self._starts[-1]:  # what is empty is none
                yield self._counted(np.array([eod_id]), 0)

    def _counted(self, ids: Ids, unknown: int) -> Tokens:
        tokens: Tokens = ids.astype(self._dtype)
        self._count += len(tokens)
        self._unknown += unknown
        self._symbols += len(tokens) + unknown * (self._policy == "skip")
        self._checksum.update(tokens.data)
        return tokens

    def facts(self) -> dict[str, Any]:
        """What must be known beside the tokens' bytes, ready for JSON."""
        return {
            "dtype": self._dtype.str,
            "count": self._count,
            "documents": self._starts,
            "unknown": self._unknown,
            "symbols": self._symbols,
            "sha256": self._checksum.hexdigest(),
        }


def _encoded(
    tokens: Tokens, facts: dict[str, Any], release: Callable[[], None] | None = None
) -> Encoded:
    stream = TokenStream(tokens, np.array(facts["documents"], np.int64), release)
    return Encoded(stream, facts["unknown"], facts["symbols"], facts["sha256"])


def encode_in_memory(
    documents: Iterable[Iterable[str]], vocabulary: Vocabulary, policy: Policy
) -> Encoded:
    """Encode documents, each a series of pieces of text, into an array."""
    encoding = _Encoding(documents, vocabulary, policy)
    blocks = list(encoding)
    facts = encoding.facts()
    tokens = np.concatenate(blocks) if blocks else np.empty(0, facts["dtype"])
    tokens.flags.writeable = False
    return _encoded(tokens, facts)


def encode_cached(
    key: str, documents: Iterable[Iterable[str]], vocabulary: Vocabulary, policy: Policy
) -> Encoded:
    """Encode documents into a file of the cache, or take the one that an earlier call left.

    Where the cache cannot be written, the file is a temporary one.

    Parameters
    ----------
    key : str
        Checksum of all that the tokens depend on. A file that does not match the checksum
        of its own is made again.
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
    """Whether files can be made in the folder, which is made itself where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _encode_unnamed(encoding: _Encoding) -> Encoded:
    """Encode into a file without a name, which is gone with the last who reads it."""
    with naming(tempfile.gettempdir()), tempfile.TemporaryFile() as file:
        for tokens in encoding:
            file.write(tokens.data)
        file.flush()
        return _map(file, encoding.facts())


def vocabulary_cached(key: str, make: Callable[[], Vocabulary]) -> Vocabulary:
    """The vocabulary that an earlier call has left under this key, else a new one.

    Where the cache cannot be read or written, it is made each time.
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
    """Facts about a file of tokens, None unless both are there and whole."""
    try:
        line = read_checked_line(about)
        if line is None:
            return None
        facts = json.loads(line)
        with open(data, "rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"]
    except OSError:  # not there, or not to be read
        return None
    return facts if whole else None


def _map(file: IO[bytes], facts: dict[str, Any]) -> Encoded:
    dtype = np.dtype(facts["dtype"])
    if not facts["count"]:  # an empty file cannot be mapped
        return _encoded(np.empty(0, dtype), facts)
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    advice = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows
    release = None if advice is None else partial(pages.madvise, advice)
    return _encoded(np.frombuffer(pages, dtype), facts, release)
