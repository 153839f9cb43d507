"""The training loop, with checkpoints from which an interrupted run continues exactly."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..lm.checkpoint import LAST, READING, Checkpoint, open_checkpoint, save_model
from ..lm.evaluation import mean_loss, validation_batches
from ..lm.model import LanguageModel
from ..lm.network import State
from ..lm.sampling import end_token
from ..lm.start import mean_state, start_contexts
from ..nn.utils import clip_coefficient
from ..storage.tensorfile import CheckpointError
from ..text import Corpus
from .callbacks import Callback, Console, TensorBoard
from .config import TrainingConfig
from .metrics import Record, Throughput, training_figures, validation_figures
from .run_directory import RunDirectory, recorded_texts
from .signals import Stopped, StopRequest, stop_on_signals
from .state import Progress, TrainingState

# A loss of more than this many times a uniform guess's means that training has diverged.
_DIVERGED = 20.0


class TrainingDivergedError(RuntimeError):
    """The loss, gradient or weights are NaN, infinite or implausibly large.

    The last checkpoint is older than that.
    """


class Trainer:
    """Trains a language model on a corpus.

    Parameters
    ----------
    lm : LanguageModel
    corpus : Corpus
        The model is trained on the split "train"; the split "valid", if there is one,
        determines the best model.
    config : TrainingConfig
    out : path-like, optional
        Run directory for ``last.safetensors`` (from which `resume` continues),
        ``best.safetensors`` and ``metrics.jsonl``. Without it nothing is written.
    callbacks : iterable of Callback
    console : bool
        Show progress on stderr.

    Attributes
    ----------
    progress : Progress
    saved_step : int or None
        Step of the checkpoint from which `resume` would continue, if there is one.
    history : list of dict
        The lines of ``metrics.jsonl``: step, epoch, tokens, train_loss, valid_loss (after a
        validation), their bits_per_character (unknown characters cost 20.1 bits each),
        bits_per_byte or perplexity, learning_rate,
        gradient_norm, tokens_per_second (without the time of validation), seconds. Losses are
        in nats per token.

    Raises
    ------
    ValueError, TypeError
        Vocabularies that differ, unusable optimizer options.
    TextError
        A corpus that is too short.
    """

    def __init__(
        self,
        lm: LanguageModel,
        corpus: Corpus,
        config: TrainingConfig | None = None,
        out: str | os.PathLike[str] | None = None,
        callbacks: Iterable[Callback] = (),
        console: bool = True,
    ) -> None:
        self.lm, self.corpus = lm, corpus
        self.config = TrainingConfig() if config is None else config
        self.out = None if out is None else Path(out)
        self.callbacks = [*callbacks, *([Console()] if console else [])]
        self.progress = Progress()
        self.saved_step: int | None = None
        self.history: list[Record] = []
        if corpus.vocabulary != lm.vocabulary:
            raise ValueError(
                f"corpus: expected the model's vocabulary {lm.vocabulary!r}, "
                f"got {corpus.vocabulary!r}"
            )
        self._batches = corpus.batches("train", self.config.batch_size, self.config.seq_length)
        self._valid = validation_batches(corpus, self.config.batch_size)
        self.optimizer = self.config.make_optimizer(lm.parameters())
        self._total_steps = self.config.total_steps(len(self._batches))
        self._validate_every = self.config.validate_every or math.ceil(
            len(self._batches) / self.config.accumulate
        )
        self._state: State | None = None
        self._contexts = self._find_contexts()
        self._limit = _DIVERGED * math.log(max(2, len(lm.vocabulary)))
        self._run: RunDirectory | None = None
        self._resuming = self._stopping = False
        self._clock = self._saved_at = time.monotonic()
        self._throughput = Throughput(self._clock, 0)

    # -- resuming --------------------------------------------------------------------------

    @classmethod
    def resume(
        cls,
        out: str | os.PathLike[str],
        corpus: Corpus | None = None,
        callbacks: Iterable[Callback] = (),
        console: bool = True,
        **changes: Any,
    ) -> Self:
        """Restore the trainer of a run directory from its last checkpoint.

        The final weights are those of a run that was never interrupted, bit for bit (with a
        budget in minutes, those of a run on a machine of exactly this speed).

        Parameters
        ----------
        out : path-like
        corpus : Corpus, optional
            The same as before; by default it is read again from the same files.
        callbacks : iterable of Callback
        console : bool
        **changes
            Fields of `TrainingConfig` to change, such as ``epochs=20`` to train longer.

        Raises
        ------
        FileNotFoundError
            There is no checkpoint yet, or a text is missing.
        TextError
            A text has changed.
        CheckpointError
            The checkpoint is damaged, or belongs to another corpus.
        ValueError, TypeError
            Unusable changes.
        """
        checkpoint = open_checkpoint(Path(out) / LAST)
        if corpus is None:
            sources = recorded_texts(out)
            if sources is None:
                raise ValueError(
                    f"corpus: {os.fspath(out)} does not record its texts, expected them"
                )
            corpus = Corpus.from_sources(sources, checkpoint.vocabulary)
        return cls.from_checkpoint(checkpoint, corpus, callbacks, console, **changes)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        corpus: Corpus,
        callbacks: Iterable[Callback] = (),
        console: bool = True,
        **changes: Any,
    ) -> Self:
        """Restore a trainer as `resume` does, from a checkpoint that is already open."""
        path = checkpoint.path
        saved = TrainingState.from_checkpoint(checkpoint)
        if saved.corpus != corpus.fingerprint():
            began = recorded_texts(path.parent)
            difference = f" ({began}), got {corpus.sources}" if began and corpus.sources else ""
            raise CheckpointError(
                f"{path}: the corpus is not the one that training began with{difference}"
            )
        config = saved.config.resumed(**changes)
        lm = LanguageModel.from_checkpoint(checkpoint)
        trainer = cls(lm, corpus, config, path.parent, callbacks, console)
        try:
            trainer._restore(saved)
        except (ValueError, TypeError, KeyError) as error:
            message = f"{path}: no training run to resume: {error!r}"
            raise CheckpointError(message) from None
        trainer.progress.finished = saved.progress.finished and not changes
        return trainer

    def _restore(self, saved: TrainingState) -> None:
        self.progress, self._state, self._resuming = saved.progress, saved.state, True
        self.saved_step = saved.progress.step
        self.lm.random.bit_generator.state = saved.random
        self.optimizer.load_state_dict(saved.optimizer)
        if self._state is not None:
            self.lm.check_state(self._state, self.config.batch_size)

    def save(self) -> None:
        """Write the checkpoint from which `resume` continues."""
        if self._run is None:
            return
        self._tick()
        if not np.isfinite([np.sum(p.data, dtype=np.float64) for p in self.lm.parameters()]).all():
            raise self._diverged("weights are no longer finite")
        self._learn_start()
        self._run.sync_metrics()
        TrainingState(
            self.config,
            self.progress,
            self.optimizer.state_dict(),
            dict(self.lm.random.bit_generator.state),
            self._state,
            self.corpus.fingerprint(),
        ).save(self.lm, self._run.last, self._about())
        self.saved_step = self.progress.step
        self._saved_at = time.monotonic()

    def _about(self) -> dict[str, str]:
        """Metadata about the texts: which they are in a few words, and how they are read."""
        sources, reading = self.corpus.sources, self.corpus.reading
        about = {} if sources is None else {"texts": str(sources)}
        return about if reading is None else about | {READING: reading.to_json()}

    def _find_contexts(self) -> NDArray[np.int64] | None:
        end, stream = end_token(self.lm.vocabulary), self.corpus.splits["train"]
        return None if end is None else start_contexts(stream.tokens, end, stream.release)

    def _learn_start(self) -> None:
        """As `LanguageModel.learn_start`, but the training text is searched only once."""
        if self._contexts is not None:
            self.lm.start = mean_state(self.lm, self._contexts)

    # -- the loop --------------------------------------------------------------------------

    def fit(self) -> list[Record]:
        """Train until the budget is used up or early stopping ends the run.

        Ctrl-C, SIGTERM and SIGHUP end it after the current step: the checkpoint is saved, then
        KeyboardInterrupt or SystemExit (with 128 plus the signal's number) is raised. The model
        keeps the weights of the last step.

        Returns
        -------
        list of dict
            The history.

        Raises
        ------
        TrainingDivergedError
            Names the step. The last checkpoint is of an earlier one.
        RunInUseError, OSError
            The run directory is in use or cannot be written; its files are unchanged.
        FileExistsError
            It already holds a training run; see `resume`.
        """
        if self.out is not None:
            TensorBoard.load()  # takes seconds; signals are caught only afterwards
        with ExitStack() as stack:
            stop = stack.enter_context(stop_on_signals())
            if self.out is not None:
                stack.callback(setattr, self, "_run", None)
                self._run = stack.enter_context(RunDirectory(self.out))
            self._clock = self._saved_at = time.monotonic()
            if self._run is not None:
                self._open_run(self._run)
            stack.callback(self._notify, "ended")
            stack.callback(self._learn_start)
            self._notify("started")
            self._clock = time.monotonic()  # the preparations do not count
            self._throughput = Throughput(self._clock, self.progress.tokens)
            self.lm.train()
            try:
                self._loop(stop)
            except Stopped:
                self.save()
                raise stop.exit_error() from None
        return self.history

    def _open_run(self, run: RunDirectory) -> None:
        if not self._resuming:
            run.check_unused()
        run.record_texts(self.corpus.sources)  # they may have been moved
        if not self._resuming:
            self.save()
        self._resuming = True
        self.history = run.start_metrics(self.progress.metrics_bytes)
        if TensorBoard.available() and not any(isinstance(c, TensorBoard) for c in self.callbacks):
            self.callbacks.append(TensorBoard(str(run.path / "tensorboard")))

    def _loop(self, stop: StopRequest) -> None:
        """Alternate steps with validations and lines of metrics that are due.

        A checkpoint may be written at each `check`, where `progress` is up to date.
        """
        while not self.progress.finished:
            stop.check()
            exhausted = self._stopping or self.budget_used() >= 1.0
            if self._validation_is_due(exhausted):
                self._validate(stop)
            elif self._line_is_due(exhausted):
                self._record()
            if exhausted or self._out_of_patience():
                self._finish()
                return
            self._step(stop)
            self._after_step()

    def stop(self) -> None:
        """End the run after the current step, as if the budget were used up."""
        self._stopping = True

    def _finish(self) -> None:
        self.progress.finished = True
        self.save()

    def _out_of_patience(self) -> bool:
        patience = self.config.early_stopping
        return patience is not None and self.progress.validations_without_improvement >= patience

    def budget_used(self) -> float:
        """Fraction of the budget that is used, 0 to 1 and possibly slightly more."""
        if self._total_steps is not None:
            return self.progress.step / self._total_steps
        assert self.config.minutes is not None
        return self.progress.seconds / (60.0 * self.config.minutes)

    def _tick(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self._clock = now

    # -- one step --------------------------------------------------------------------------

    def _step(self, stop: StopRequest) -> None:
        config, progress = self.config, self.progress
        rate = config.rate(min(1.0, self.budget_used())) * progress.rate_factor
        loss, tokens = self._gradients(stop)
        norm = self.optimizer.grad_norm()
        self._check_finite(loss / tokens, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        scale = 1.0 if config.clip_norm is None else clip_coefficient(norm, config.clip_norm)
        self.optimizer.step(scale, math.inf if config.clip_value is None else config.clip_value)
        progress.step += 1
        progress.tokens += tokens
        progress.loss_sum += loss
        progress.loss_tokens += tokens
        progress.gradient_norm = norm
        self._tick()

    def _gradients(self, stop: StopRequest) -> tuple[float, int]:
        """Compute loss and gradients of one step's windows; a signal undoes the step."""
        config, progress, bits = self.config, self.progress, self.lm.random.bit_generator
        scale = 1.0 / (config.batch_size * config.seq_length * config.accumulate)
        loss, tokens = 0.0, 0
        before = progress.epoch, progress.window, self._state
        random = bits.state if self.lm.config.dropout else None
        try:
            with stop.eagerly():
                for n in range(config.accumulate):
                    inputs, targets = self._next_window()
                    part, state = self.lm.forward_backward(
                        inputs, targets, self._state, scale, n > 0
                    )
                    self._state = state if config.carry_state else None
                    loss += part
                    tokens += inputs.size
        except Stopped:
            progress.epoch, progress.window, self._state = before
            if random is not None:
                bits.state = random
            raise
        return loss, tokens

    def _next_window(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        progress = self.progress
        if progress.window == len(self._batches):
            progress.epoch, progress.window, self._state = progress.epoch + 1, 0, None
        progress.window += 1
        return self._batches.window(progress.window - 1)

    def _check_finite(self, loss: float, norm: float) -> None:
        if not math.isfinite(loss) or loss > self._limit:
            raise self._diverged(f"loss is {loss:.4g} nats per token")
        if not math.isfinite(norm):
            raise self._diverged(f"gradient norm is {norm}")

    def _diverged(self, reason: str) -> TrainingDivergedError:
        kept = "" if self.out is None else f"; {self.out / LAST} is of an earlier step"
        return TrainingDivergedError(f"step {self.progress.step + 1}: {reason}{kept}")

    def _after_step(self) -> None:
        config, step = self.config, self.progress.step
        for callback in self.callbacks:
            callback.stepped(self)
        if config.sample_every is not None and step % config.sample_every == 0:
            self._notify("sampled", self._sample())
        if time.monotonic() - self._saved_at >= 60.0 * config.save_minutes:
            self.save()

    def _sample(self) -> str:
        config = self.config
        self._learn_start()
        return self.lm.sample(
            config.sample_prime, config.sample_length,
            temperature=config.sample_temperature, seed=self.progress.step,
        )  # fmt: skip

    # -- validation and metrics ------------------------------------------------------------

    def _validation_is_due(self, exhausted: bool) -> bool:
        step = self.progress.step
        due = exhausted or step % self._validate_every == 0
        return self._valid is not None and due and step > self.progress.validated

    def _line_is_due(self, exhausted: bool) -> bool:
        due = exhausted or self.progress.step % self.config.log_every == 0
        return due and self.progress.loss_tokens > 0

    def _validate(self, stop: StopRequest) -> None:
        assert self._valid is not None
        began = time.monotonic()
        with stop.eagerly():
            loss = mean_loss(self.lm, self._valid)
        self._throughput.exclude(time.monotonic() - began)
        if not math.isfinite(loss):
            raise self._diverged(f"validation loss is {loss}")
        if self.progress.best_loss is None or loss < self.progress.best_loss:
            self._keep_best(loss)
        else:
            self.progress.validations_without_improvement += 1
            if self.config.schedule == "plateau":
                self.progress.rate_factor *= self.config.plateau_factor
        self.progress.validated = self.progress.step
        self._record(loss)

    def _keep_best(self, loss: float) -> None:
        progress = self.progress
        progress.best_loss, progress.best_step = loss, progress.step
        progress.validations_without_improvement = 0
        if self._run is not None:
            self._learn_start()
            unknown_rate = self.corpus.unknown_token_rate("valid")
            metadata = self._about() | {
                "progress": progress.to_json(),
                "valid_unknown_rate": json.dumps(unknown_rate),
            }
            save_model(self.lm, self.lm.vocabulary, self._run.best, metadata=metadata)

    def _record(self, valid_loss: float | None = None) -> None:
        """Record a line of metrics, with the validation loss if there is one."""
        self._tick()
        progress = self.progress
        record = self.snapshot()
        if valid_loss is not None:
            record |= validation_figures(valid_loss, self.corpus)
        record["seconds"] = progress.seconds
        progress.loss_sum, progress.loss_tokens = 0.0, 0
        self._throughput = Throughput(self._clock, progress.tokens)
        self.history.append(record)
        if self._run is not None:
            progress.metrics_bytes = self._run.write_metrics(record)
        self._notify("recorded", record)

    def snapshot(self) -> Record:
        """Figures of a line of metrics at this moment."""
        progress = self.progress
        return {
            **training_figures(progress, len(self._batches), self.corpus),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "gradient_norm": progress.gradient_norm,
            "tokens_per_second": self._throughput.rate(time.monotonic(), progress.tokens),
        }

    def _notify(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *arguments)
