"""Callbacks of a training run: a base class, the console, TensorBoard."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import IO, Any, Protocol

from tqdm import tqdm

from ..lm.model import LanguageModel
from .config import TrainingConfig
from .metrics import Record, summary
from .state import Progress

_REFRESH_SECONDS = 0.2
_FLUSH_SECONDS = 10.0


class TrainingRun(Protocol):
    """The view of a trainer that callbacks get."""

    @property
    def lm(self) -> LanguageModel: ...

    @property
    def config(self) -> TrainingConfig: ...

    @property
    def progress(self) -> Progress: ...

    @property
    def history(self) -> list[Record]:
        """All lines of metrics so far."""

    def budget_used(self) -> float:
        """Fraction of the budget that is used, 0 to 1 and possibly slightly more."""

    def snapshot(self) -> Record:
        """Figures of a line of metrics at this moment."""

    def stop(self) -> None:
        """End the run after the current step."""


class Callback:
    """Base class of callbacks, with a method for each event; override the ones you need."""

    def started(self, run: TrainingRun) -> None:
        """`fit` begins, also when a run is resumed."""

    def stepped(self, run: TrainingRun) -> None:
        """A step is done. Called very often."""

    def recorded(self, run: TrainingRun, record: Record) -> None:
        """A line of metrics has been recorded."""

    def sampled(self, run: TrainingRun, text: str) -> None:
        """A sample has been drawn."""

    def ended(self, run: TrainingRun) -> None:
        """`fit` ends, for any reason."""


class Console(Callback):
    """Shows a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._bar: tqdm[Any] | None = None
        self._next = 0.0

    def started(self, run: TrainingRun) -> None:
        if self._stream.isatty():
            layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {desc}"
            self._bar = tqdm(
                total=1.0,
                initial=_done(run),
                file=self._stream,
                bar_format=layout,
                dynamic_ncols=True,
            )

    def stepped(self, run: TrainingRun) -> None:
        if self._bar is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _REFRESH_SECONDS
            self._bar.n = _done(run)
            self._bar.set_description_str(summary(run.snapshot()), refresh=True)

    def recorded(self, run: TrainingRun, record: Record) -> None:
        if self._bar is None or "valid_loss" in record:
            self._write(summary(record))

    def sampled(self, run: TrainingRun, text: str) -> None:
        self._write(f"--- sample at step {run.progress.step:,}\n{text}\n---")

    def _write(self, text: str) -> None:
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.write(text, file=self._stream)

    def ended(self, run: TrainingRun) -> None:
        if self._bar is not None:
            self._bar.n = _done(run)
            self._bar.close()
            self._bar = None


def _done(run: TrainingRun) -> float:
    """Fraction of the budget that is used, which tqdm wants to be at most 1."""
    return min(1.0, run.budget_used())


class TensorBoard(Callback):
    """Logs every figure for TensorBoard, through tensorboardX.

    Events are written synchronously. `SummaryWriter` uses a thread, and once a full disk has
    ended that thread, the next caller that fills its queue waits forever. An OSError ends the
    logging, with a line on stderr, but never the training run.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._writer: Any = None  # also after an error
        self._flush_at = 0.0

    @staticmethod
    def available() -> bool:
        return find_spec("tensorboardX") is not None

    @staticmethod
    def load() -> None:
        """Import tensorboardX if it is installed."""
        if TensorBoard.available():
            import_module("tensorboardX")

    def started(self, run: TrainingRun) -> None:
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}"
        with self._ending_at_errors():
            os.makedirs(self._folder, exist_ok=True)
            self._writer = RecordWriter(os.path.join(self._folder, name))
        self._write(0, file_version="brain.Event:2")
        # TensorBoard discards what a killed run wrote after its last checkpoint.
        start = SessionLog(status=SessionLog.START)
        self._write(run.progress.step + 1, session_log=start)

    def recorded(self, run: TrainingRun, record: Record) -> None:
        from tensorboardX.summary import scalar

        for name, value in record.items():
            if name != "step" and value is not None:
                self._write(record["step"], summary=scalar(name, value))

    def sampled(self, run: TrainingRun, text: str) -> None:
        from tensorboardX import summary

        self._write(run.progress.step, summary=summary.text("sample", text))

    def ended(self, run: TrainingRun) -> None:
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
