"""Files that appear whole or not at all, and errors that name them."""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add a file's name to an OSError of a block that has none, such as a full disk's.

    Parameters
    ----------
    path : path-like
        The name to add.

    Examples
    --------
    >>> from fastseq.storage.files import naming
    >>> with naming("notes.txt"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'notes.txt'
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` once it is complete and on disk.

    If anything fails in the block, `path` keeps its old contents.

    Parameters
    ----------
    path : path-like
        The file to replace. The temporary one lies beside it.

    Yields
    ------
    file
        Open for writing bytes.

    Raises
    ------
    OSError
        The file cannot be written; the error names it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.storage.files import atomic_file
    >>> with atomic_file("notes.txt") as file:
    ...     _ = file.write(b"whole")
    ...     Path("notes.txt").exists()
    False
    >>> Path("notes.txt").read_text()
    'whole'
    """
    target = Path(path)
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = target.with_name(f".{target.name}.{writer}.tmp")
    try:
        with naming(target), open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename == os.fspath(temporary):
            raise type(error)(error.errno, error.strerror, os.fspath(target)) from error
        raise
    _sync_directory(target.parent)


def read_replaceable(file: IO[bytes]) -> memoryview:
    """Read a file that may be replaced while its contents are in use.

    They are mapped, and read on first use; Windows, where a mapped file cannot be replaced,
    reads them at once.

    Parameters
    ----------
    file : file
        Open for reading bytes; not empty.

    Returns
    -------
    memoryview
        Read-only.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.storage.files import atomic_file, read_replaceable
    >>> Path("notes.txt").write_bytes(b"old")
    3
    >>> with open("notes.txt", "rb") as file:
    ...     content = read_replaceable(file)
    >>> with atomic_file("notes.txt") as file:
    ...     _ = file.write(b"new")
    >>> bytes(content), Path("notes.txt").read_bytes()
    (b'old', b'new')
    """
    if sys.platform == "win32":
        return memoryview(file.read())
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _sync_directory(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can (Windows cannot)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_checked_line(path: Path, line: bytes) -> None:
    """Write one line, followed by its SHA-256, atomically.

    Parameters
    ----------
    path : Path
        File to write.
    line : bytes
        Without a newline.

    Raises
    ------
    OSError
        The file cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.storage.files import read_checked_line, write_checked_line
    >>> write_checked_line(Path("facts.json"), b"{}")
    >>> read_checked_line(Path("facts.json"))
    b'{}'
    """
    with atomic_file(path) as file:
        file.write(line + b"\n" + hashlib.sha256(line).hexdigest().encode())


def read_checked_line(path: Path) -> bytes | None:
    """Read the line that `write_checked_line` wrote.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    bytes or None
        None if the file is damaged.

    Raises
    ------
    OSError
        The file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.storage.files import read_checked_line
    >>> path = Path("facts.json")
    >>> path.write_bytes(b"{}, cut off")
    11
    >>> read_checked_line(path) is None
    True
    """
    line, _, checksum = path.read_bytes().partition(b"\n")
    return line if hashlib.sha256(line).hexdigest().encode() == checksum else None
