"""What a training is told (`TrainingConfig`) and where it stands (`Progress`)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self, get_args

from .. import optim
from ..nn import Parameter
from .config import check_choice, check_int, check_real, from_json

Schedule = Literal["cosine", "linear", "exponential", "constant", "plateau"]
OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop", "adagrad"]

# Beyond these a number is a slip; the training would never end, or a sample never be shown.
MAX_BUDGET = 10**9  # epochs or minutes
MAX_ACCUMULATE = 10**6
MAX_SAMPLE_LENGTH = 10**5

_OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "sgd": optim.SGD,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides how a training runs, beside model and corpus.

    Attributes
    ----------
    epochs, steps, minutes : float, int, float, or None
        The budget: one of them (10 epochs where none is given), at most a billion epochs or
        minutes. Learning-rate schedules run from the first step to the end of the budget.
    batch_size, seq_length : int
        Lanes of text read in parallel, and tokens of a window of each.
    accumulate : int
        Windows whose gradients are added up for one step, at most a million.
    carry_state : bool
        Start a window from the state in which the one before ended (truncated BPTT).
    optimizer : {"adam", "adamw", "sgd", "rmsprop", "adagrad"}
    learning_rate : float
    optimizer_options : dict
        Further keyword arguments of the optimizer, such as ``{"weight_decay": 0.1}``.
    schedule : {"cosine", "linear", "exponential", "constant", "plateau"}
        How the learning rate falls from its full value to `final_rate` times that; "plateau"
        multiplies it by `plateau_factor` after each validation that brought no better loss.
    warmup, final_rate : float
        Share of the budget in which the rate rises from zero; share of the rate at the end.
    plateau_factor : float
    clip_norm, clip_value : float or None
        Scale the gradient down to this norm; then limit each of its elements.
    validate_every : int or None
        Steps between validations; None for once an epoch. The end is always validated.
    early_stopping : int or None
        Stop after so many validations in a row without a better loss.
    log_every : int
        Steps between lines of `metrics.jsonl`.
    sample_every : int or None
        Steps between samples.
    sample_length : int
        Tokens of a sample, at most 100,000.
    sample_prime : str
    sample_temperature : float
    save_minutes : float
        Time between checkpoints.
    """

    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 32
    seq_length: int = 64
    accumulate: int = 1
    carry_state: bool = True
    optimizer: OptimizerName = "adam"
    learning_rate: float = 2e-3
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    final_rate: float = 0.02
    plateau_factor: float = 0.25
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    validate_every: int | None = None
    early_stopping: int | None = None
    log_every: int = 100
    sample_every: int | None = None
    sample_length: int = 200
    sample_prime: str = ""
    sample_temperature: float = 0.8
    save_minutes: float = 1.0

    def __post_init__(self) -> None:
        budgets = [name for name in ("epochs", "steps", "minutes") if getattr(self, name)]
        for name in ("epochs", "minutes", "clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        for name in ("epochs", "minutes"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), 0.0, MAX_BUDGET)
        for name in ("steps", "validate_every", "early_stopping", "sample_every"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), 1)
        for name in ("batch_size", "seq_length", "log_every"):
            check_int(name, getattr(self, name), 1)
        check_int("accumulate", self.accumulate, 1, MAX_ACCUMULATE)
        check_int("sample_length", self.sample_length, 1, MAX_SAMPLE_LENGTH)
        if len(budgets) > 1:
            raise ValueError(f"{', '.join(budgets)}: expected one budget, got {len(budgets)}")
        if not budgets:
            object.__setattr__(self, "epochs", 10)
        _check_positive("learning_rate", self.learning_rate)
        check_choice("optimizer", self.optimizer, get_args(OptimizerName))
        check_choice("schedule", self.schedule, get_args(Schedule))
        check_real("warmup", self.warmup, 0.0, 1.0)
        check_real("final_rate", self.final_rate, 0.0, 1.0)
        check_real("sample_temperature", self.sample_temperature, 0.0)
        check_real("save_minutes", self.save_minutes, 0.0)
        _check_positive("plateau_factor", self.plateau_factor)
        check_real("plateau_factor", self.plateau_factor, 0.0, 1.0)
        if not isinstance(self.optimizer_options, dict):
            raise TypeError(f"optimizer_options: expected a dict, got {self.optimizer_options!r}")
        for name, kind in (("carry_state", bool), ("sample_prime", str)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name}: expected {kind.__name__}, got {getattr(self, name)!r}")

    def rate(self, done: float) -> float:
        """Learning rate when a share `done` of the budget is used, in [0, 1]."""
        if done < self.warmup:
            # Half-open at the other end, so that the first step does something.
            return self.learning_rate * max(done / self.warmup, 1e-3)
        done = (done - self.warmup) / (1.0 - self.warmup) if self.warmup < 1.0 else 0.0
        return self.learning_rate * self._fall(min(done, 1.0))

    def _fall(self, x: float) -> float:
        """From 1 at x = 0 to `final_rate` at x = 1."""
        end = self.final_rate
        if self.schedule == "cosine":
            return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * x))
        if self.schedule == "linear":
            return 1.0 - (1.0 - end) * x
        if self.schedule == "exponential":
            return max(end, 1e-8) ** x
        return 1.0

    def make_optimizer(self, parameters: Iterable[Parameter]) -> optim.Optimizer:
        """The optimizer, at the full learning rate."""
        options: dict[str, Any] = {"lr": self.learning_rate} | self.optimizer_options
        try:
            return _OPTIMIZERS[self.optimizer](list(parameters), **options)
        except TypeError as error:
            raise ValueError(f"optimizer_options: {error}") from None

    def total_steps(self, windows: int) -> int | None:
        """Steps of all epochs of so many windows each; None for a budget in minutes."""
        if self.epochs is None:
            return self.steps
        return max(1, math.ceil(self.epochs * windows / self.accumulate))

    def resumed(self, **changes: Any) -> Self:
        """A copy with other values to go on with; a new budget takes the place of the old one.

        Raises
        ------
        ValueError, TypeError
            Also for a change that the state of a training under way would not fit.
        """
        budgets = {"epochs", "steps", "minutes"}
        if budgets & changes.keys():
            changes = dict.fromkeys(budgets) | changes
        config = replace(self, **changes)
        for name in ("batch_size", "seq_length", "optimizer", "optimizer_options"):
            if getattr(config, name) != getattr(self, name):
                raise ValueError(f"{name}: cannot change when a training is resumed")
        return config

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return from_json(cls, text)


def _check_positive(name: str, value: Any) -> None:
    check_real(name, value)
    if value <= 0:
        raise ValueError(f"{name}: expected more than 0, got {value}")


@dataclass
class Progress:
    """Where a training stands between two steps; with model, optimizer and state all of it.

    Attributes
    ----------
    step, tokens : int
        Steps done, tokens trained on.
    epoch, window : int
        The next window: its epoch, counted from 0, and place therein.
    seconds : float
        Time spent in `fit`.
    best_loss, best_step : float or None, int
        Lowest validation loss, in nats per token, and the step it belongs to.
    failures : int
        Validations since then.
    validated : int
        The last step that was validated.
    rate_factor : float
        What plateaus have left of the learning rate.
    loss_sum, loss_tokens : float, int
        Training loss since the last line of metrics.
    gradient_norm : float
        Of the last step, before clipping.
    metrics_bytes : int
        Size of `metrics.jsonl`.
    finished : bool
        The budget is used up, or early stopping has ended the training.
    """

    step: int = 0
    tokens: int = 0
    epoch: int = 0
    window: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    failures: int = 0
    validated: int = 0
    rate_factor: float = 1.0
    loss_sum: float = 0.0
    loss_tokens: int = 0
    gradient_norm: float = 0.0
    metrics_bytes: int = 0
    finished: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return from_json(cls, text)
