"""How files are read: their encoding, and their division into documents."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ..checks import check_type
from .reading import TextError, encoding_name, read_chunks

# Longer lines and fields are implausible, and a text without any would be held as a whole.
MAX_RECORD = 1 << 24  # characters
MAX_DIGITS = 6  # of a column's number
_GATHERED = 1 << 16  # characters


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes
    ----------
    documents : {None, "files", "lines", "csv:COLUMN"}
        What a document is: nothing, so that all files are one text; each file; each line that
        is not blank; or each field of a column that is not blank, in files of comma-separated
        values. COLUMN is a name in the first row, or the column's number from 1 in files
        without such a row. Quotes and line ends in fields are those of Python's `csv`.
    encoding : str
        Any text encoding of Python that has an incremental decoder.

    Raises
    ------
    ValueError
        Another division, or no such encoding.

    Examples
    --------
    >>> Reading("csv:name", "latin1")
    Reading(documents='csv:name', encoding='iso8859-1')
    """

    documents: str | None = None
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", encoding_name(self.encoding))
        if self.documents is None:
            return
        check_type("documents", self.documents, str)
        column = self.column
        wrong_number = column.isdecimal() and (len(column) > MAX_DIGITS or int(column) < 1)
        if wrong_number or not (column or self.documents in ("files", "lines")):
            raise ValueError(
                "documents: expected files, lines or csv:COLUMN (a name, or a number from 1), "
                f"got {self.documents!r}"
            )

    @property
    def column(self) -> str:
        """The column's name or number; empty unless the files are comma-separated values."""
        kind, _, column = (self.documents or "").partition(":")
        return column if kind == "csv" else ""

    @property
    def has_records(self) -> bool:
        """Whether a file holds several documents."""
        return self.documents not in (None, "files")

    def to_json(self) -> str:
        """Write all fields as a JSON object.

        Returns
        -------
        str
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild what `to_json` wrote.

        Parameters
        ----------
        text : str
            From `to_json`.

        Returns
        -------
        Reading

        Raises
        ------
        ValueError, TypeError
            Anything else.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"reading: expected a JSON object, got {type(values).__name__}")
        return cls(**values)


def read_documents(
    paths: Sequence[Path],
    strip_licence: bool = True,
    separator: str = "\n",
    errors: str = "strict",
    reading: Reading | None = None,
) -> Iterator[Iterator[str]]:
    r"""Yield one stream of text per document; each but the last file ends in `separator`.

    Parameters
    ----------
    paths : sequence of Path
        Files; see `read_chunks`.
    strip_licence : bool
        Leave out Project Gutenberg's header and footer.
    separator : str
        Text between two files; after every document where a file holds several.
    errors : {"strict", "surrogateescape"}
        Treatment of bytes that are not UTF-8; see `read_chunks`.
    reading : Reading, optional
        By default files are UTF-8, and each is one stream.

    Yields
    ------
    iterator of str
        Pieces of a document's text.

    Raises
    ------
    OSError
        A file cannot be read.
    TextError
        As `read_chunks`; also for a line or field of more than 16 million characters, and for
        comma-separated values that are malformed or lack the column.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import Reading, read_documents
    >>> path = Path("names.csv")
    >>> path.write_text("name,ship\nNemo,Nautilus\nAhab,Pequod\n")
    36
    >>> ["".join(pieces) for pieces in read_documents([path], reading=Reading("csv:name"))]
    ['Nemo\n', 'Ahab\n']
    """
    reading = Reading() if reading is None else reading
    for n, path in enumerate(paths, start=1):
        chunks = read_chunks(path, strip_licence, errors, reading.encoding)
        if reading.has_records:
            for record in _records(path, chunks, reading.column):
                yield iter((record, separator) if separator else (record,))
        else:
            yield chunks if n == len(paths) else itertools.chain(chunks, [separator])


def gathered(pieces: Iterable[str]) -> Iterator[str]:
    """Join short pieces of a text to longer ones, which are processed faster."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _GATHERED:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _records(path: Path, chunks: Iterable[str], column: str) -> Iterator[str]:
    """The documents of a file, without blank ones."""
    lines = _lines(path, chunks)
    found = _fields(path, lines, column) if column else (line.rstrip("\r\n") for line in lines)
    return (record for record in found if record and not record.isspace())


def _lines(path: Path, chunks: Iterable[str]) -> Iterator[str]:
    """Lines with their ends, as a file opened with newline="" gives them."""
    rest = ""
    mark = "\ufeff"  # of UTF-8, which spreadsheets write
    for chunk in chunks:
        *lines, rest = (rest + chunk.removeprefix(mark)).split("\n")
        mark = ""
        for line in lines:
            yield line + "\n"
        if len(rest) > MAX_RECORD:
            raise TextError(f"{path}: no end of a line in {len(rest):,} characters")
    if rest:
        yield rest


def _fields(path: Path, lines: Iterator[str], column: str) -> Iterator[str]:
    """The fields of one column of comma-separated values."""
    rows = csv.reader(lines, strict=True)  # else a stray quote joins all that follows
    limit = csv.field_size_limit(MAX_RECORD)  # for all of the process, so it is restored
    try:
        index = int(column) - 1 if column.isdecimal() else _find(path, next(rows, []), column)
        for row in rows:
            if len(row) > index:
                yield row[index]
            elif row:  # an empty line has no fields
                raise TextError(
                    f"{path}: line {rows.line_num}: expected at least {index + 1} columns, "
                    f"got {len(row)}"
                )
    except csv.Error as error:
        raise TextError(f"{path}: line {rows.line_num}: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _find(path: Path, header: list[str], column: str) -> int:
    """Index of a column by its name."""
    names = [name.strip() for name in header]
    if column not in names:
        known = ", ".join(map(repr, names)) or "nothing"
        raise TextError(f"{path}: no column {column!r} in the first row, which has {known}")
    return names.index(column)
