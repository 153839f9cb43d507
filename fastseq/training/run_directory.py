"""The directory of a training run, locked for one process at a time, with its metrics."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from ..lm.checkpoint import BEST, LAST
from ..storage.files import atomic_file, naming
from ..storage.tensorfile import CheckpointError
from ..text import Sources

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class RunInUseError(RuntimeError):
    """Another process is training in this directory.

    Examples
    --------
    >>> from fastseq.training.run_directory import RunDirectory, RunInUseError
    >>> with RunDirectory("run"):
    ...     try:
    ...         RunDirectory("run")
    ...     except RunInUseError as error:
    ...         print(error)
    run: in use by another run
    """


TEXTS, METRICS = "texts.json", "metrics.jsonl"


class RunDirectory:
    """Paths of a training run's files, and the lock on them.

    The lock is the operating system's, on a file that is never removed: it ends with its
    process, however that ends, and the next process can take it.

    Parameters
    ----------
    path : path-like
        Created with its parents if it does not exist.

    Raises
    ------
    OSError
        The path is a file, or cannot be written.
    RunInUseError
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.last, self.best = self.path / LAST, self.path / BEST
        self.metrics = self.path / METRICS
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
        """Remove temporary checkpoints of a process that was killed while writing them."""
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
        """Refuse a directory that already holds files of a training run.

        Raises
        ------
        FileExistsError
        """
        for path in (self.last, self.best, self.metrics):
            if path.exists():
                raise FileExistsError(f"{path}: exists already; resume that run or move it")

    def start_metrics(self, size: int) -> list[dict[str, Any]]:
        """Open `metrics.jsonl`, truncated to `size` bytes; return its records."""
        self._file = open(self.metrics, "a+b")  # noqa: SIM115  # closed by __exit__
        self._file.truncate(min(size, self.metrics.stat().st_size))
        self._file.seek(0)
        return [json.loads(line) for line in self._file if line.strip()]

    def write_metrics(self, record: dict[str, Any]) -> int:
        """Append one line; return the size of the file."""
        assert self._file is not None
        with naming(self.metrics):
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
        return self._file.tell()

    def record_texts(self, sources: Sources | None) -> None:
        """Write the files of the corpus to `texts.json`, unless they are there already."""
        if sources is None or sources == recorded_texts(self.path):
            return
        with atomic_file(self.path / TEXTS) as file:
            file.write(sources.to_json().encode())

    def sync_metrics(self) -> None:
        """Flush all lines to disk before a checkpoint that refers to them."""
        if self._file is not None:
            with naming(self.metrics):
                os.fsync(self._file.fileno())


def recorded_texts(run: str | os.PathLike[str]) -> Sources | None:
    """The files that a run was trained on; None for a corpus from a string.

    Raises
    ------
    CheckpointError
        The record is damaged.
    """
    path = Path(run) / TEXTS
    try:
        return Sources.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a record of texts: {error!r}") from None
