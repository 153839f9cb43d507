"""The training loop, and how it survives whatever ends it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..text import Corpus
from .callbacks import Callback, Console, Record, TensorBoard
from .checkpoint import LAST, open_checkpoint, restore_model, save_model
from .evaluation import in_usual_unit, mean_loss, validation_batches
from .model import LanguageModel
from .network import State
from .run import RunDirectory
from .signals import Stopped, StopRequest, stop_on_signals
from .tensorfile import CheckpointError
from .training import Progress, TrainingConfig
from .training_state import TrainingState

# A loss that many times that of guessing blindly is an explosion.
_EXPLODED = 20.0


class TrainingDivergedError(RuntimeError):
    """Loss or gradient has become NaN, infinite or absurd; no checkpoint was written since."""


class Trainer:
    """Trains a language model on a corpus.

    Parameters
    ----------
    lm : LanguageModel
    corpus : Corpus
        Its split "train" is trained on; "valid", where there is one, tells the best model.
    config : TrainingConfig
    out : path-like, optional
        Run directory: ``last.safetensors`` (from which `resume` goes on), ``best.safetensors``
        and ``metrics.jsonl``. Without it nothing is written.
    callbacks : iterable of Callback
    console : bool
        Show progress on stderr.

    Attributes
    ----------
    progress : Progress
    history : list of dict
        The lines of ``metrics.jsonl``: step, epoch, tokens, train_loss, valid_loss (where
        validated), their bits_per_character, bits_per_byte or perplexity, learning_rate,
        gradient_norm, tokens_per_second (without the time of validation), seconds. Losses are
        nats per token.

    Raises
    ------
    ValueError, TypeError
        Vocabularies that differ, optimizer options that make no sense.
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
        self._limit = _EXPLODED * math.log(max(2, len(lm.vocabulary)))
        self._run: RunDirectory | None = None
        self._resuming = self._stopping = False
        self._clock = self._saved_at = time.monotonic()
        self._recorded_at = self._clock, 0

    # -- resuming --------------------------------------------------------------------------

    @classmethod
    def resume(
        cls,
        out: str | os.PathLike[str],
        corpus: Corpus,
        callbacks: Iterable[Callback] = (),
        console: bool = True,
        **changes: Any,
    ) -> Self:
        """The trainer of a run directory, where its last checkpoint left it.

        It ends with the weights, bit for bit, of a training that was never interrupted (with
        a budget in minutes, of one on a machine of just that speed).

        Parameters
        ----------
        out : path-like
        corpus : Corpus
            The same as before.
        **changes
            Fields of `TrainingConfig` to change, such as ``epochs=20`` to train longer.

        Raises
        ------
        FileNotFoundError
            There is no checkpoint yet.
        CheckpointError
            The checkpoint is damaged, or of another corpus.
        ValueError, TypeError
            Changes that make no sense.
        """
        path = Path(out) / LAST
        file = open_checkpoint(path)
        saved = TrainingState.read(path, file)
        if saved.corpus != corpus.fingerprint():
            raise CheckpointError(f"{path}: the corpus is not the one that training began with")
        config = saved.config.resumed(**changes)
        trainer = cls(restore_model(LanguageModel, file), corpus, config, out, callbacks, console)
        try:
            trainer._restore(saved)
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path}: no training to resume: {error!r}") from None
        trainer.progress.finished = saved.progress.finished and not changes
        return trainer

    def _restore(self, saved: TrainingState) -> None:
        self.progress, self._state, self._resuming = saved.progress, saved.state, True
        self.lm.random.bit_generator.state = saved.random
        self.optimizer.load_state_dict(saved.optimizer)
        if self._state is not None:
            self.lm.check_state(self._state, self.config.batch_size)

    def save(self) -> None:
        """Write the checkpoint from which `resume` goes on."""
        if self._run is None:
            return
        self._tick()
        if not np.isfinite([np.sum(p.data, dtype=np.float64) for p in self.lm.parameters()]).all():
            raise self._diverged("weights are no longer finite")
        self._run.sync_metrics()
        TrainingState(
            self.config,
            self.progress,
            self.optimizer.state_dict(),
            dict(self.lm.random.bit_generator.state),
            self._state,
            self.corpus.fingerprint(),
        ).save(self.lm, self._run.last)
        self._saved_at = time.monotonic()

    # -- the loop --------------------------------------------------------------------------

    def fit(self) -> list[Record]:
        """Train until the budget is used up or early stopping ends it; return the history.

        Ctrl-C and SIGTERM end it after the current step: the checkpoint is saved, then
        KeyboardInterrupt or SystemExit is raised. The model is left as the last step made it.

        Raises
        ------
        TrainingDivergedError
            Names the step. The last checkpoint is of before.
        RunInUseError, OSError
            The run directory is in use or cannot be written; what is in it stays as it was.
        FileExistsError
            It holds a training already; see `resume`.
        """
        if self.out is not None:
            TensorBoard.load()  # takes seconds in which no signal would be answered
        with ExitStack() as stack:
            stop = stack.enter_context(stop_on_signals())
            if self.out is not None:
                stack.callback(setattr, self, "_run", None)
                self._run = stack.enter_context(RunDirectory(self.out))
            self._clock = self._saved_at = time.monotonic()
            if self._run is not None:
                self._open_run(self._run)
            stack.callback(self._tell, "ended")
            self._tell("started")
            self._clock = time.monotonic()  # the budget is for training
            self._recorded_at = self._clock, self.progress.tokens
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
            self.save()
        self._resuming = True
        self.history = run.start_metrics(self.progress.metrics_bytes)
        if TensorBoard.available() and not any(isinstance(c, TensorBoard) for c in self.callbacks):
            self.callbacks.append(TensorBoard(str(run.path / "tensorboard")))

    def _loop(self, stop: StopRequest) -> None:
        """Steps and what is due between them.

        A checkpoint may be written at each `check`: `progress` tells all that was done.
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
        """End the training after the current step as if the budget were used up."""
        self._stopping = True

    def _finish(self) -> None:
        self.progress.finished = True
        self.save()

    def _out_of_patience(self) -> bool:
        patience = self.config.early_stopping
        return patience is not None and self.progress.failures >= patience

    def budget_used(self) -> float:
        """Share of the budget that is used, 0 to 1 and possibly slightly more."""
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
        shrink = 1.0 if config.clip_norm is None else min(1.0, config.clip_norm / (norm + 1e-6))
        self.optimizer.step(shrink, math.inf if config.clip_value is None else config.clip_value)
        progress.step += 1
        progress.tokens += tokens
        progress.loss_sum += loss
        progress.loss_tokens += tokens
        progress.gradient_norm = norm
        self._tick()

    def _gradients(self, stop: StopRequest) -> tuple[float, int]:
        """Loss and gradients of one step's windows; a signal breaks it off without a trace."""
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

    def _diverged(self, what: str) -> TrainingDivergedError:
        kept = "" if self.out is None else f"; {self.out / LAST} is of an earlier step"
        return TrainingDivergedError(f"step {self.progress.step + 1}: {what}{kept}")

    def _after_step(self) -> None:
        config, step = self.config, self.progress.step
        for callback in self.callbacks:
            callback.stepped(self)
        if config.sample_every is not None and step % config.sample_every == 0:
            self._tell("sampled", self._sample())
        if time.monotonic() - self._saved_at >= 60.0 * config.save_minutes:
            self.save()

    def _sample(self) -> str:
        config = self.config
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
        progress, began = self.progress, time.monotonic()
        with stop.eagerly():
            loss = mean_loss(self.lm, self._valid)
        since, tokens = self._recorded_at
        self._recorded_at = since + time.monotonic() - began, tokens  # the speed is training's
        if not math.isfinite(loss):
            raise self._diverged(f"validation loss is {loss}")
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step, progress.failures = loss, progress.step, 0
            if self._run is not None:
                save_model(self.lm, self._run.best, metadata={"progress": progress.to_json()})
        else:
            progress.failures += 1
            if self.config.schedule == "plateau":
                progress.rate_factor *= self.config.plateau_factor
        progress.validated = progress.step
        self._record(loss)

    def _record(self, valid_loss: float | None = None) -> None:
        """One line of metrics; the training loss is the mean since the line before."""
        self._tick()
        progress = self.progress
        record = self.snapshot()
        if valid_loss is not None:
            record |= {"valid_loss": valid_loss} | in_usual_unit(
                self.lm.vocabulary, "valid", valid_loss
            )
        record["seconds"] = progress.seconds
        progress.loss_sum, progress.loss_tokens = 0.0, 0
        self._recorded_at = self._clock, progress.tokens
        self.history.append(record)
        if self._run is not None:
            progress.metrics_bytes = self._run.write_metrics(record)
        self._tell("recorded", record)

    def snapshot(self) -> Record:
        """The figures of a line of metrics as they are now."""
        progress = self.progress
        since, tokens = self._recorded_at
        elapsed = time.monotonic() - since
        loss = progress.loss_sum / progress.loss_tokens if progress.loss_tokens else None
        return {
            "step": progress.step,
            "epoch": progress.epoch + progress.window / len(self._batches),
            "tokens": progress.tokens,
            "train_loss": loss,
            **({} if loss is None else in_usual_unit(self.lm.vocabulary, "train", loss)),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "gradient_norm": progress.gradient_norm,
            "tokens_per_second": (progress.tokens - tokens) / elapsed if elapsed > 0 else None,
        }

    def _tell(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *arguments)
