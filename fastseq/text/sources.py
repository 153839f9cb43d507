"""A record of the files that a corpus was read from, so that it can be read again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from .reading import TextError

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class SourceFile:
    """A file as it was read.

    Attributes
    ----------
    path : str
        Absolute.
    size : int
        In bytes.
    sha256 : str
    """

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        return cls(os.path.abspath(path), os.path.getsize(path), file_checksum(path))

    def check(self) -> None:
        """Refuse a file that is missing or has other contents.

        Raises
        ------
        FileNotFoundError, TextError
        """
        try:
            size = os.path.getsize(self.path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path}: missing since training began with it") from None
        if size != self.size:
            found = f"{self.size:,} bytes then, {size:,} now"
        elif file_checksum(self.path) != self.sha256:
            found = "as many bytes, but others"
        else:
            return
        raise TextError(f"{self.path}: this text has changed since training began ({found})")


@dataclass(frozen=True)
class Sources:
    """The files of a corpus, and how they were read, so that they can be read again.

    ``str(sources)`` names the training files in a few words.

    Attributes
    ----------
    files : dict of str to list of SourceFile
        By split: "train" and those that are files of their own.
    options : dict
        Keyword arguments of `Corpus.from_files` that are values for JSON.

    Examples
    --------
    >>> from pathlib import Path
    >>> import fastseq
    >>> Path("poem.txt").write_text("Roses are red")
    13
    >>> corpus = fastseq.Corpus.from_files("poem.txt", fastseq.Vocabulary.bytes())
    >>> print(corpus.sources)
    poem.txt, 13 bytes
    >>> again = fastseq.Corpus.from_sources(corpus.sources, corpus.vocabulary)
    >>> again.fingerprint() == corpus.fingerprint()
    True
    """

    files: dict[str, list[SourceFile]]
    options: dict[str, Any]

    @classmethod
    def of(cls, files: Mapping[str, Sequence[Path]], options: Mapping[str, Any]) -> Self:
        """Record files as they are now.

        Parameters
        ----------
        files : mapping of str to sequence of Path
            By split.
        options : mapping of str to Any
            Keyword arguments of `Corpus.from_files` that are values for JSON.

        Returns
        -------
        Sources

        Raises
        ------
        OSError
            A file cannot be read.
        """
        recorded = {name: [SourceFile.of(path) for path in paths] for name, paths in files.items()}
        return cls(recorded, dict(options))

    def check(self, split: str) -> None:
        """Refuse files of a split that are missing or have changed.

        Parameters
        ----------
        split : str
            "train", or another that is in `files`.

        Raises
        ------
        FileNotFoundError, TextError
            A file is missing; its contents have changed.
        """
        for file in self.files[split]:
            file.check()

    def paths(self, split: str) -> list[str]:
        """Return the files of a split.

        Parameters
        ----------
        split : str
            "train", or another that is in `files`.

        Returns
        -------
        list of str
            Absolute paths.
        """
        return [file.path for file in self.files[split]]

    def __str__(self) -> str:
        """The training files in a few words, without their folders."""
        files = self.files["train"]
        size = readable_size(sum(file.size for file in files))
        first, last = (os.path.basename(files[n].path) for n in (0, -1))
        if len(files) == 1:
            return f"{first}, {size}"
        return f"{len(files):,} files, {first} to {last}, {size}"

    def to_json(self) -> str:
        """Write the record as a JSON object.

        Returns
        -------
        str
        """
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str
            From `to_json`.

        Returns
        -------
        Sources

        Raises
        ------
        ValueError, TypeError, KeyError
            Anything else.
        """
        values = json.loads(text)
        files = {n: [SourceFile(**file) for file in v] for n, v in values["files"].items()}
        return cls(files, dict(values["options"]))


def file_checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable_size(n_bytes: int) -> str:
    """A number of bytes with a unit, such as "1.2 MB" (a million bytes)."""
    size, unit = float(n_bytes), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    digits = 1 if unit and size < 99.5 else 0
    return f"{size:.{digits}f} {_UNITS[unit]}"
