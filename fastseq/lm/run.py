"""A training's directory, which one process at a time may use, and its file of metrics."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from ..files import naming
from .checkpoint import BEST, LAST

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class RunInUseError(RuntimeError):
    """Another process trains in this directory."""


class RunDirectory:
    """Paths of a training's files, and the lock on them.

    The lock is the operating system's, on a file that stays behind: however a process ends,
    its lock ends with it, and the next one takes over.

    Parameters
    ----------
    path : path-like
        Made, with its parents, where it does not exist.

    Raises
    ------
    OSError
        It is a file, or cannot be written.
    RunInUseError
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.last, self.best = self.path / LAST, self.path / BEST
        self.metrics = self.path / "metrics.jsonl"
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / "lock", "ab")  # noqa: SIM115  # held until close
        try:
            _try_lock(self._lock)
        except OSError:
            self._lock.close()
            raise RunInUseError(f"{self.path}: in use by another run") from None
        self._file: IO[bytes] | None = None
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Temporary checkpoints of a process that was killed while it wrote them."""
        for name in BEST, LAST:
            for path in self.path.glob(f".{name}.[0-9]*.tmp"):
                with suppress(OSError):
                    path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock, naming(self.metrics):
            if self._file is not None:
                self._file.close()

    def check_unused(self) -> None:
        """Refuse to begin where a training has left something.

        Raises
        ------
        FileExistsError
        """
        for path in (self.last, self.best, self.metrics):
            if path.exists():
                raise FileExistsError(f"{path}: exists already; resume that training or move it")

    def start_metrics(self, size: int) -> list[dict[str, Any]]:
        """Open `metrics.jsonl`, cut back to the first `size` bytes; return what they record."""
        self._file = open(self.metrics, "a+b")  # noqa: SIM115  # closed by __exit__
        self._file.truncate(min(size, self.metrics.stat().st_size))
        self._file.seek(0)
        return [json.loads(line) for line in self._file if line.strip()]

    def write_metrics(self, record: dict[str, Any]) -> int:
        """Append one line; return the file's size."""
        assert self._file is not None
        with naming(self.metrics):
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
        return self._file.tell()

    def sync_metrics(self) -> None:
        """Have all lines on the disk before a checkpoint counts on them."""
        if self._file is not None:
            with naming(self.metrics):
                os.fsync(self._file.fileno())
