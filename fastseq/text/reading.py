"""From files to pieces of text: UTF-8 by default, strict, with newlines unchanged."""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import itertools
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from ..checks import check_type

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


def encoding_name(encoding: str) -> str:
    """The name under which Python knows a text encoding.

    Raises
    ------
    ValueError
        There is none of this name, or it cannot decode a file piece by piece.
    """
    check_type("encoding", encoding, str)
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)  # unlike `lookup` it refuses hex and the like
        found = codecs.lookup(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError):  # no such name, or none that can be one
        raise ValueError(
            f"encoding: expected a text encoding such as utf-8 or cp1252, got {encoding!r}"
        ) from None
    return found.name


def read_chunks(
    path: str | os.PathLike[str],
    strip_licence: bool = True,
    errors: str = "strict",
    encoding: str = "utf-8",
) -> Iterator[str]:
    """Stream one file's text in pieces of about a million characters.

    Parameters
    ----------
    path : path-like
        A file; if its name ends in .gz it is decompressed.
    strip_licence : bool
        Leave out everything outside of Project Gutenberg's START and END markers, if the file
        has them.
    errors : {"strict", "surrogateescape"}
        Refuse bytes that are not UTF-8, or map them to characters that no text contains and
        that `str.encode` maps back. In other encodings, bytes that stand for no character are
        always refused.
    encoding : str
        Any text encoding of Python that has an incremental decoder.

    Returns
    -------
    iterator of str
        Pieces of the text.

    Raises
    ------
    OSError
        The file cannot be read.
    TextError
        For bytes that are not in the encoding, with file and byte offset (in the decompressed
        stream).

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import read_chunks
    >>> Path("long.txt").write_text("word " * 500_000)
    2500000
    >>> len(list(read_chunks("long.txt"))) > 1
    True
    """
    encoding = encoding_name(encoding)
    errors = errors if encoding == "utf-8" else "strict"
    chunks = _decode(path, _read_blocks(path), errors, encoding)
    return strip_gutenberg(chunks) if strip_licence else chunks


def read_text(
    path: str | os.PathLike[str],
    strip_licence: bool = True,
    errors: str = "strict",
    encoding: str = "utf-8",
) -> str:
    """Read the whole text of one file.

    Parameters
    ----------
    path : path-like
        A file; if its name ends in .gz it is decompressed.
    strip_licence : bool
        Leave out everything outside of Project Gutenberg's START and END markers, if the file
        has them.
    errors : {"strict", "surrogateescape"}
        Treatment of bytes that are not UTF-8; see `read_chunks`.
    encoding : str
        Any text encoding of Python that has an incremental decoder.

    Returns
    -------
    str

    Raises
    ------
    OSError
        The file cannot be read.
    TextError
        For bytes that are not in the encoding, with file and byte offset (in the decompressed
        stream).

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import read_text
    >>> Path("nemo.txt").write_text("Captain Nemo")
    12
    >>> read_text("nemo.txt")
    'Captain Nemo'
    """
    return "".join(read_chunks(path, strip_licence, errors, encoding))


def _read_blocks(path: str | os.PathLike[str]) -> Iterator[bytes]:
    try:
        with gzip.open(path) if os.fspath(path).endswith(".gz") else open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TextError(f"{path}: damaged gzip file: {error}") from None


def _decode(
    path: str | os.PathLike[str], blocks: Iterable[bytes], errors: str, encoding: str
) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    position = 0
    for block in itertools.chain(blocks, [b""]):
        if position == 0 and errors == "strict":
            _refuse_wide_encodings(path, block, encoding)
        position += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            raise TextError(f"{path}: {_reason(error, position, encoding)}") from None
        if text:
            yield text


def _reason(error: UnicodeError, position: int, encoding: str) -> str:
    """Describe bytes that cannot be decoded, the last of which is before `position`."""
    name = encoding.upper()
    if not isinstance(error, UnicodeDecodeError):  # utf-16 without a byte order mark, idna
        return f"not {name}: {error}"
    # The bytes in error begin with those of a character that earlier blocks left incomplete.
    offset = position - len(error.object) + error.start
    other = _likely_encoding(error.object) if encoding == "utf-8" else "utf-8"
    return f"invalid {name} at byte {offset}: {error.reason}; try the encoding {other}"


def _likely_encoding(block: bytes) -> str:
    """An encoding of Western texts that has a character for every byte."""
    try:
        block.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _refuse_wide_encodings(path: str | os.PathLike[str], block: bytes, encoding: str) -> None:
    """Detect UTF-16 by its byte order mark, or by a NUL beside nearly every letter."""
    if encoding.startswith(("utf-16", "utf-32")):
        return
    name = encoding.upper()
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    if encoding == "utf-8" and block.startswith(marks):
        wide = "utf-32" if block.startswith((codecs.BOM_UTF32_LE, marks[2])) else "utf-16"
        raise TextError(
            f"{path}: byte order mark of {wide.upper()} at byte 0, expected {name}; "
            f"try the encoding {wide}"
        )
    even, odd = block[:1024:2], block[1:1024:2]
    for text, nul, offset in (even, odd, 1), (odd, even, 0):
        if len(nul) > 1 and 0 not in text and nul.count(0) > 0.75 * len(nul):
            where = offset + 2 * nul.index(0)
            wide = "utf-16-le" if offset else "utf-16-be"
            raise TextError(
                f"{path}: looks like UTF-16 (NUL at byte {where}), expected {name}; "
                f"try the encoding {wide}"
            )


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
