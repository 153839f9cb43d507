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
    """The view of a trainer that callbacks get.

    A `Trainer` is one.

    Examples
    --------
    >>> import fastseq
    >>> from fastseq.training import Callback, TrainingRun
    >>> class StopBelow(Callback):
    ...     def recorded(self, run: TrainingRun, record):
    ...         if record["train_loss"] < 2.0:
    ...             run.stop()
    >>> corpus = fastseq.Corpus.from_text("hello world. " * 40, fastseq.Vocabulary.characters)
    >>> lm = fastseq.LanguageModel(corpus.vocabulary, cell="gru", hidden_size=8)
    >>> config = fastseq.TrainingConfig(
    ...     steps=1000, batch_size=4, seq_length=8, learning_rate=0.03, log_every=5
    ... )
    >>> trainer = fastseq.Trainer(lm, corpus, config, callbacks=[StopBelow()], console=False)
    >>> len(trainer.fit()) < 10
    True
    """

    @property
    def lm(self) -> LanguageModel:
        """The model."""

    @property
    def config(self) -> TrainingConfig:
        """The settings of the run."""

    @property
    def progress(self) -> Progress:
        """The position of the run."""

    @property
    def history(self) -> list[Record]:
        """All lines of metrics so far."""

    def budget_used(self) -> float:
        """Return the fraction of the budget that is used.

        Returns
        -------
        float
            0 to 1 and possibly slightly more.
        """

    def snapshot(self) -> Record:
        """Return the figures of a line of metrics at this moment.

        Returns
        -------
        dict
            By the names of `Trainer.history`, without those of a validation.
        """

    def stop(self) -> None:
        """End the run after the current step."""


class Callback:
    """Base class of callbacks, with a method for each event; override the ones you need.

    Examples
    --------
    >>> import fastseq
    >>> class Losses(fastseq.training.Callback):
    ...     def recorded(self, run, record):
    ...         print(record["step"], 1 < record["train_loss"] < 3)
    >>> corpus = fastseq.Corpus.from_text("hello world. " * 40, fastseq.Vocabulary.characters)
    >>> lm = fastseq.LanguageModel(corpus.vocabulary, cell="gru", hidden_size=8)
    >>> config = fastseq.TrainingConfig(steps=4, batch_size=2, seq_length=8, log_every=2)
    >>> _ = fastseq.Trainer(lm, corpus, config, callbacks=[Losses()], console=False).fit()
    2 True
    4 True
    """

    def started(self, run: TrainingRun) -> None:
        """Handle the beginning of `fit`, also when a run is resumed.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        """

    def stepped(self, run: TrainingRun) -> None:
        """Handle the end of a step. Called very often.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        """

    def recorded(self, run: TrainingRun, record: Record) -> None:
        """Handle a line of metrics that has been recorded.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        record : dict
            The line; see `Trainer`.
        """

    def sampled(self, run: TrainingRun, text: str) -> None:
        """Handle a sample that has been drawn.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        text : str
            The sample.
        """

    def ended(self, run: TrainingRun) -> None:
        """Handle the end of `fit`, whatever the reason.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        """


class Console(Callback):
    """Shows a progress bar on a terminal, plain lines elsewhere.

    A `Trainer` has one unless it is made with ``console=False``.

    Parameters
    ----------
    stream : file or None
        Text file to write to; None for stderr.

    Examples
    --------
    >>> import io
    >>> import fastseq
    >>> corpus = fastseq.Corpus.from_text("hello world. " * 40, fastseq.Vocabulary.characters)
    >>> lm = fastseq.LanguageModel(corpus.vocabulary, cell="gru", hidden_size=8)
    >>> config = fastseq.TrainingConfig(steps=3, batch_size=2, seq_length=8)
    >>> log = io.StringIO()
    >>> console = fastseq.training.Console(log)
    >>> _ = fastseq.Trainer(lm, corpus, config, callbacks=[console], console=False).fit()
    >>> log.getvalue().startswith("step 3")
    True
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._bar: tqdm[Any] | None = None
        self._next = 0.0

    def started(self, run: TrainingRun) -> None:
        """Show the bar, on a terminal.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        """
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
        """Move the bar, a few times a second.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        """
        if self._bar is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _REFRESH_SECONDS
            self._bar.n = _done(run)
            self._bar.set_description_str(summary(run.snapshot()), refresh=True)

    def recorded(self, run: TrainingRun, record: Record) -> None:
        """Write a line; where there is a bar, only after a validation.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        record : dict
            The line of metrics.
        """
        if self._bar is None or "valid_loss" in record:
            self._write(summary(record))

    def sampled(self, run: TrainingRun, text: str) -> None:
        """Write the sample.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        text : str
            The sample.
        """
        self._write(f"--- sample at step {run.progress.step:,}\n{text}\n---")

    def _write(self, text: str) -> None:
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.write(text, file=self._stream)

    def ended(self, run: TrainingRun) -> None:
        """Close the bar.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        """
        if self._bar is not None:
            self._bar.n = _done(run)
            self._bar.close()
            self._bar = None


def _done(run: TrainingRun) -> float:
    """Fraction of the budget that is used, which tqdm wants to be at most 1."""
    return min(1.0, run.budget_used())


class TensorBoard(Callback):
    """Logs every figure for TensorBoard, through tensorboardX.

    A `Trainer` with a run directory has one where tensorboardX is installed.

    Events are written synchronously. `SummaryWriter` uses a thread, and once a full disk has
    ended that thread, the next caller that fills its queue waits forever. An OSError ends the
    logging, with a line on stderr, but never the training run.

    Parameters
    ----------
    folder : str
        Folder for the events; it is created.

    Examples
    --------
    >>> from fastseq.training import TensorBoard
    >>> callbacks = [TensorBoard("logs")] if TensorBoard.available() else []
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._writer: Any = None  # also after an error
        self._flush_at = 0.0

    @staticmethod
    def available() -> bool:
        """Return whether tensorboardX is installed.

        Returns
        -------
        bool
        """
        return find_spec("tensorboardX") is not None

    @staticmethod
    def load() -> None:
        """Import tensorboardX if it is installed."""
        if TensorBoard.available():
            import_module("tensorboardX")

    def started(self, run: TrainingRun) -> None:
        """Open a file of events.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        """
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
        """Log every figure of a line of metrics.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        record : dict
            The line of metrics.
        """
        from tensorboardX.summary import scalar

        for name, value in record.items():
            if name != "step" and value is not None:
                self._write(record["step"], summary=scalar(name, value))

    def sampled(self, run: TrainingRun, text: str) -> None:
        """Log the sample as text.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        text : str
            The sample.
        """
        from tensorboardX import summary

        self._write(run.progress.step, summary=summary.text("sample", text))

    def ended(self, run: TrainingRun) -> None:
        """Close the file of events.

        Parameters
        ----------
        run : TrainingRun
            The trainer.
        """
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
