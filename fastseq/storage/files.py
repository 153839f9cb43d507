"""Files that appear whole or not at all, and errors that name them."""

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
    """Add this file's name to an OSError of the block that has none, such as a full disk's."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` once it is complete and on disk.

    If anything fails, `path` keeps its old contents.
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
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def read_replaceable(file: IO[bytes]) -> memoryview:
    """The contents of a file that may be replaced while they are in use.

    They are mapped, and read on first use; Windows, where a mapped file cannot be replaced,
    reads them at once.
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
    """Write one line, followed by its SHA-256."""
    with atomic_file(path) as file:
        file.write(line + b"\n" + hashlib.sha256(line).hexdigest().encode())


def read_checked_line(path: Path) -> bytes | None:
    """The line that `write_checked_line` wrote, or None if the file is damaged."""
    line, _, checksum = path.read_bytes().partition(b"\n")
    return line if hashlib.sha256(line).hexdigest().encode() == checksum else None
