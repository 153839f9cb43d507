"""What watches a training: a base class, the console, TensorBoard."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from .trainer import Trainer

Record = dict[str, Any]

_REFRESH_SECONDS = 0.2
_FLUSH_SECONDS = 10.0


class Callback:
    """Override what you want to hear of. `trainer.stop()` ends the training from within."""

    def started(self, trainer: Trainer) -> None:
        """`fit` begins, or goes on after a resume."""

    def stepped(self, trainer: Trainer) -> None:
        """A step is done; called very often."""

    def recorded(self, trainer: Trainer, record: Record) -> None:
        """A line of metrics."""

    def sampled(self, trainer: Trainer, text: str) -> None:
        """A sample."""

    def ended(self, trainer: Trainer) -> None:
        """`fit` ends, for whatever reason."""


def summary(record: Record) -> str:
    """A line of metrics for people."""
    names = {"train_loss": "loss", "valid_loss": "valid", "tokens_per_second": "tokens/s"}
    parts = [f"step {record['step']:,}", f"epoch {record['epoch']:.2f}"]
    for key, name in names.items():
        if record.get(key) is not None:
            value = record[key]
            whole = value >= 1000 or name == "tokens/s"
            parts.append(f"{name} {value:,.0f}" if whole else f"{name} {value:.3f}")
    return "  ".join(parts)


class Console(Callback):
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._bar: tqdm[Any] | None = None
        self._next = 0.0

    def started(self, trainer: Trainer) -> None:
        if self._stream.isatty():
            layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {desc}"
            done = trainer.budget_used()
            self._bar = tqdm(
                total=1.0, initial=done, file=self._stream, bar_format=layout, dynamic_ncols=True
            )

    def stepped(self, trainer: Trainer) -> None:
        if self._bar is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _REFRESH_SECONDS
            self._bar.n = trainer.budget_used()
            self._bar.set_description_str(summary(trainer.snapshot()), refresh=True)

    def recorded(self, trainer: Trainer, record: Record) -> None:
        if self._bar is None or "valid_loss" in record:
            self._write(summary(record))

    def sampled(self, trainer: Trainer, text: str) -> None:
        self._write(f"--- sample at step {trainer.progress.step:,}\n{text}\n---")

    def _write(self, text: str) -> None:
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.write(text, file=self._stream)

    def ended(self, trainer: Trainer) -> None:
        if self._bar is not None:
            self._bar.n = trainer.budget_used()
            self._bar.close()
            self._bar = None


class TensorBoard(Callback):
    """Every figure to TensorBoard, by way of tensorboardX.

    Events are written here and now: `SummaryWriter` has a thread for them, and once a full disk
    has ended that, whoever adds to its queue waits forever. An error of the system ends the
    logging, with a line on stderr, and never the training.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._writer: Any = None  # None also once it has failed
        self._flush_at = 0.0

    @staticmethod
    def available() -> bool:
        return find_spec("tensorboardX") is not None

    @staticmethod
    def load() -> None:
        """Import tensorboardX, where it is installed."""
        if TensorBoard.available():
            import_module("tensorboardX")

    def started(self, trainer: Trainer) -> None:
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}"
        with self._ending_at_errors():
            os.makedirs(self._folder, exist_ok=True)
            self._writer = RecordWriter(os.path.join(self._folder, name))
        self._write(0, file_version="brain.Event:2")
        # What a killed run wrote after its last checkpoint is written again.
        start = SessionLog(status=SessionLog.START)
        self._write(trainer.progress.step + 1, session_log=start)

    def recorded(self, trainer: Trainer, record: Record) -> None:
        from tensorboardX.summary import scalar

        for name, value in record.items():
            if name != "step" and value is not None:
                self._write(record["step"], summary=scalar(name, value))

    def sampled(self, trainer: Trainer, text: str) -> None:
        from tensorboardX import summary

        self._write(trainer.progress.step, summary=summary.text("sample", text))

    def ended(self, trainer: Trainer) -> None:
        if self._writer is not None:
            with self._ending_at_errors():
                self._writer.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        if self._writer is None:
            return
        with self._ending_at_errors():
            event = Event(step=step, wall_time=time.time(), **content)
            self._writer.write(event.SerializeToString())
            if time.monotonic() >= self._flush_at:
                self._writer.flush()
                self._flush_at = time.monotonic() + _FLUSH_SECONDS

    @contextmanager
    def _ending_at_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._writer is not None:
                with suppress(OSError):
                    self._writer.close()
            self._writer = None
            text = f"{self._folder}: {error.strerror}: nothing more is logged here"
            print(text, file=sys.stderr, flush=True)
