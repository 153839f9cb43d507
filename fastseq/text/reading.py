"""From files to pieces of text: UTF-8, strict by default, with newlines unchanged."""

from __future__ import annotations

import codecs
import glob
import gzip
import itertools
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

PathOrPaths: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

SUFFIXES = (".txt", ".text", ".md", ".tokens")
BLOCK_BYTES = 1 << 20

# Far longer than any marker line of Project Gutenberg, title included.
_MARKER_LENGTH = 500
_START = re.compile(
    r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG.{0,400}?\*\*\*[^\n]*\n", re.M | re.S
)
_END = re.compile(r"^\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG", re.M)


class TextError(ValueError):
    """Text that cannot be used; the message says where and why.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import TextError, read_text
    >>> Path("latin.txt").write_bytes("café".encode("latin-1"))
    4
    >>> try:
    ...     read_text("latin.txt")
    ... except TextError as error:
    ...     print("invalid UTF-8 at byte 3" in str(error))
    True
    """


def find_sources(paths: PathOrPaths) -> list[Path]:
    """Find files by paths, folders and glob patterns.

    A folder stands for every file below it that ends in .txt, .text, .md or .tokens, with
    or without .gz, in sorted order and without hidden files.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Files, folders and patterns, in any mixture.

    Returns
    -------
    list of Path
        Files, in the order of `paths`.

    Raises
    ------
    FileNotFoundError
        A name is neither a file nor a folder, nor a pattern that matches any.
    TextError
        A folder holds no text file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import find_sources
    >>> Path("books").mkdir()
    >>> for name in ("b.txt", "a.txt", "picture.png"):
    ...     Path("books", name).touch()
    >>> [path.name for path in find_sources("books")]
    ['a.txt', 'b.txt']
    """
    names = [paths] if isinstance(paths, str | os.PathLike) else paths
    found = [path for name in names for path in _expand(Path(name))]
    if not found:
        raise TextError("corpus: expected at least one file, got none")
    return found


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        return _files_below(path)
    if path.exists():
        return [path]
    # A pattern also matches broken links.
    matches = sorted(filter(os.path.exists, glob.glob(str(path), recursive=True)))
    if not matches:
        raise FileNotFoundError(f"{path}: no such file or folder")
    return [file for match in matches for file in _expand(Path(match))]


def _files_below(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if _is_text(path.relative_to(folder)))
    files = [path for path in files if path.is_file()]
    if not files:
        raise TextError(
            f"{folder}: expected files ending in {', '.join(SUFFIXES)} (or .gz), got none"
        )
    return files


def _is_text(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(SUFFIXES) and not any(part.startswith(".") for part in path.parts)


def read_chunks(
    path: str | os.PathLike[str], strip_licence: bool = True, errors: str = "strict"
) -> Iterator[str]:
    """Stream one file's text in pieces of about a million characters.

    Parameters
    ----------
    path : path-like
        A UTF-8 file; if its name ends in .gz it is decompressed.
    strip_licence : bool
        Leave out everything outside of Project Gutenberg's START and END markers, if the file
        has them.
    errors : {"strict", "surrogateescape"}
        Refuse bytes that are not UTF-8, or map them to characters that no text contains and
        that `str.encode` maps back.

    Returns
    -------
    iterator of str
        Pieces of the text.

    Raises
    ------
    OSError
        The file cannot be read.
    TextError
        For bytes that are not UTF-8, with file and byte offset (in the decompressed stream).

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import read_chunks
    >>> Path("long.txt").write_text("word " * 500_000)
    2500000
    >>> len(list(read_chunks("long.txt"))) > 1
    True
    """
    chunks = _decode(path, _read_blocks(path), errors)
    return strip_gutenberg(chunks) if strip_licence else chunks


def read_text(
    path: str | os.PathLike[str], strip_licence: bool = True, errors: str = "strict"
) -> str:
    """Read the whole text of one file.

    Parameters
    ----------
    path : path-like
        A UTF-8 file; if its name ends in .gz it is decompressed.
    strip_licence : bool
        Leave out everything outside of Project Gutenberg's START and END markers, if the file
        has them.
    errors : {"strict", "surrogateescape"}
        Treatment of bytes that are not UTF-8; see `read_chunks`.

    Returns
    -------
    str

    Raises
    ------
    OSError
        The file cannot be read.
    TextError
        For bytes that are not UTF-8, with file and byte offset (in the decompressed stream).

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import read_text
    >>> Path("nemo.txt").write_text("Captain Nemo")
    12
    >>> read_text("nemo.txt")
    'Captain Nemo'
    """
    return "".join(read_chunks(path, strip_licence, errors))


def read_documents(
    paths: Sequence[Path],
    strip_licence: bool = True,
    separator: str = "\n",
    errors: str = "strict",
) -> Iterator[Iterator[str]]:
    r"""Yield one stream of text per file; each but the last ends in `separator`.

    Parameters
    ----------
    paths : sequence of Path
        Files; see `read_chunks`.
    strip_licence : bool
        Leave out Project Gutenberg's header and footer.
    separator : str
        Text to insert between two files.
    errors : {"strict", "surrogateescape"}
        Treatment of bytes that are not UTF-8; see `read_chunks`.

    Yields
    ------
    iterator of str
        Pieces of a file's text.

    Raises
    ------
    OSError, TextError
        A file cannot be read, or is not UTF-8.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import read_documents
    >>> paths = [Path("one.txt"), Path("two.txt")]
    >>> [path.write_text(path.stem) for path in paths]
    [3, 3]
    >>> ["".join(pieces) for pieces in read_documents(paths)]
    ['one\n', 'two']
    """
    for n, path in enumerate(paths, start=1):
        chunks = read_chunks(path, strip_licence, errors)
        yield chunks if n == len(paths) else itertools.chain(chunks, [separator])


def _read_blocks(path: str | os.PathLike[str]) -> Iterator[bytes]:
    try:
        with gzip.open(path) if os.fspath(path).endswith(".gz") else open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TextError(f"{path}: damaged gzip file: {error}") from None


def _decode(path: str | os.PathLike[str], blocks: Iterable[bytes], errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    position = 0
    for block in itertools.chain(blocks, [b""]):
        if position == 0 and errors == "strict":
            _refuse_wide_encodings(path, block)
        held_back = len(decoder.getstate()[0])  # first bytes of a character split between blocks
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            offset = position - held_back + error.start
            raise TextError(f"{path}: invalid UTF-8 at byte {offset}: {error.reason}") from None
        position += len(block)
        if text:
            yield text


def _refuse_wide_encodings(path: str | os.PathLike[str], block: bytes) -> None:
    """Detect UTF-16 by its byte order mark, or by a NUL beside nearly every letter."""
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    if block.startswith(marks):
        raise TextError(f"{path}: byte order mark of UTF-16 or UTF-32 at byte 0, expected UTF-8")
    even, odd = block[:1024:2], block[1:1024:2]
    for text, nul, offset in (even, odd, 1), (odd, even, 0):
        if len(nul) > 1 and 0 not in text and nul.count(0) > 0.75 * len(nul):
            where = offset + 2 * nul.index(0)
            raise TextError(f"{path}: looks like UTF-16 (NUL at byte {where}), expected UTF-8")


def strip_gutenberg(chunks: Iterable[str]) -> Iterator[str]:
    """Keep the text between START and END markers, of one book or several in sequence.

    A text without a START marker in its first piece passes unchanged.
    """
    pieces = iter(chunks)
    first = next(pieces, "")
    # If the first piece is short, a marker may end in the second.
    while len(first) < BLOCK_BYTES // 2 and (more := next(pieces, "")):
        first += more
    everything = itertools.chain([first], pieces)
    kept = _between_markers(everything) if _START.search(first) else everything
    return (piece for piece in kept if piece)


def _between_markers(chunks: Iterable[str]) -> Iterator[str]:
    rest, inside = "", False
    for chunk in chunks:
        rest += chunk
        while match := (_END if inside else _START).search(rest):
            if inside:
                yield rest[: match.start()]
            rest, inside = rest[match.end() :], not inside
        # Hold back a possible beginning of a marker; cut at the start of a line.
        cut = rest.rfind("\n", 0, max(0, len(rest) - _MARKER_LENGTH)) + 1
        if inside:
            yield rest[:cut]
        rest = rest[cut:]
    if inside:
        yield rest
