"""`TrainingConfig`: everything that decides how a training run proceeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self, get_args

from .. import optim
from ..checks import check_choice, check_int, check_positive, check_real, check_type
from ..lm.config import from_json
from ..lm.sampling import MAX_SAMPLE_LENGTH
from ..nn import Parameter
from ..optim import schedules

ScheduleName = Literal["cosine", "linear", "exponential", "constant", "plateau"]
OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop", "adagrad"]

# Larger values are implausible: the run would never end.
MAX_BUDGET = 10**9  # epochs or minutes
MAX_ACCUMULATE = 10**6

_MIN_WARMUP = 1e-3  # of the full rate, so that the first step has an effect
_MIN_DECAY = 1e-8  # of the full rate, where an exponential is to end at zero
_BUDGETS = ("epochs", "steps", "minutes")
_OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "sgd": optim.SGD,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run, apart from model and corpus.

    Each parameter is an attribute, too. A configuration cannot be changed; `resumed` makes
    another.

    Parameters
    ----------
    epochs, steps, minutes : float, int, float, or None
        The budget: one of them (10 epochs by default), at most a billion epochs or minutes.
        Learning-rate schedules run from the first step to the end of the budget.
    batch_size : int
        Streams of text that are read in parallel.
    seq_length : int
        Tokens of each stream in a window.
    accumulate : int
        Windows whose gradients are added up for one step, at most a million.
    carry_state : bool
        Start a window from the final state of the window before (truncated BPTT).
    optimizer : {"adam", "adamw", "sgd", "rmsprop", "adagrad"}
        Class of `fastseq.optim`.
    learning_rate : float
        The full rate.
    optimizer_options : dict
        Further keyword arguments of the optimizer, such as ``{"weight_decay": 0.1}``.
    schedule : {"cosine", "linear", "exponential", "constant", "plateau"}
        How the learning rate falls from its full value to `final_rate` times that; "plateau"
        multiplies it by `plateau_factor` when validation stops improving.
    warmup : float
        Fraction of the budget in which the rate rises from zero.
    final_rate : float
        Fraction of the full rate that is left at the end.
    plateau_factor : float
        Factor of "plateau", above 0 and at most 1.
    clip_norm : float or None
        Scale the gradient down to this norm.
    clip_value : float or None
        Then limit each of its elements to ±clip_value.
    validate_every : int or None
        Steps between validations; None for once an epoch. The end is always validated.
    early_stopping : int or None
        Stop after this many validations in a row without improvement.
    log_every : int
        Steps between lines of `metrics.jsonl`.
    sample_every : int or None
        Steps between samples.
    sample_length : int
        Tokens of a sample, at most 100,000.
    sample_prime : str
        Beginning of each sample.
    sample_temperature : float
        See `fastseq.lm.Sampling`.
    save_minutes : float
        Time between checkpoints.

    Raises
    ------
    TypeError, ValueError
        An unusable value, by name, or more than one budget.

    Examples
    --------
    >>> import fastseq
    >>> config = fastseq.TrainingConfig(steps=100, learning_rate=0.01, warmup=0.1)
    >>> [round(config.rate(done), 4) for done in (0.05, 0.1, 0.55, 1.0)]  # by fraction of budget
    [0.005, 0.01, 0.0051, 0.0002]
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
    schedule: ScheduleName = "cosine"
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
        self._check_numbers()
        check_choice("optimizer", self.optimizer, get_args(OptimizerName))
        check_choice("schedule", self.schedule, get_args(ScheduleName))
        check_type("optimizer_options", self.optimizer_options, dict)
        check_type("carry_state", self.carry_state, bool)
        check_type("sample_prime", self.sample_prime, str)
        budgets = [name for name in _BUDGETS if getattr(self, name) is not None]
        if len(budgets) > 1:
            raise ValueError(f"{', '.join(budgets)}: expected one budget, got {len(budgets)}")
        if not budgets:
            object.__setattr__(self, "epochs", 10)

    def _check_numbers(self) -> None:
        for name in ("epochs", "minutes", "clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                most = MAX_BUDGET if name in _BUDGETS else math.inf
                check_positive(name, getattr(self, name), most)
        for name in ("steps", "validate_every", "early_stopping", "sample_every"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), 1)
        for name in ("batch_size", "seq_length", "log_every"):
            check_int(name, getattr(self, name), 1)
        check_int("accumulate", self.accumulate, 1, MAX_ACCUMULATE)
        check_int("sample_length", self.sample_length, 1, MAX_SAMPLE_LENGTH)
        check_positive("learning_rate", self.learning_rate)
        check_positive("plateau_factor", self.plateau_factor, 1.0)
        for name in ("warmup", "final_rate"):
            check_real(name, getattr(self, name), 0.0, 1.0)
        for name in ("sample_temperature", "save_minutes"):
            check_real(name, getattr(self, name), 0.0)

    def rate(self, done: float) -> float:
        """Return the learning rate when a fraction of the budget is used, without plateau factors.

        Parameters
        ----------
        done : float
            The fraction, 0 to 1.

        Returns
        -------
        float
        """
        if done < self.warmup:
            rise = schedules.linear(0.0, 1.0, done / self.warmup)
            return self.learning_rate * max(rise, _MIN_WARMUP)
        done = (done - self.warmup) / (1.0 - self.warmup) if self.warmup < 1.0 else 0.0
        return self.learning_rate * self._decay(min(done, 1.0))

    def _decay(self, done: float) -> float:
        """The schedule's factor, from 1 at done = 0 to `final_rate` at done = 1."""
        if self.schedule == "cosine":
            return schedules.cosine(1.0, self.final_rate, math.pi * done)
        if self.schedule == "linear":
            return schedules.linear(1.0, self.final_rate, done)
        if self.schedule == "exponential":
            return schedules.exponential(max(self.final_rate, _MIN_DECAY), done)
        return 1.0

    def make_optimizer(self, parameters: Iterable[Parameter]) -> optim.Optimizer:
        """Build the optimizer, at the full learning rate.

        Parameters
        ----------
        parameters : iterable of Parameter
            What it updates.

        Returns
        -------
        Optimizer

        Raises
        ------
        ValueError
            Unusable `optimizer_options`.
        """
        options: dict[str, Any] = {"lr": self.learning_rate} | self.optimizer_options
        try:
            return _OPTIMIZERS[self.optimizer](list(parameters), **options)
        except TypeError as error:
            raise ValueError(f"optimizer_options: {error}") from None

    def total_steps(self, windows: int) -> int | None:
        """Return the number of steps of the whole budget.

        Parameters
        ----------
        windows : int
            Windows of an epoch.

        Returns
        -------
        int or None
            None for a budget in minutes.
        """
        if self.epochs is None:
            return self.steps
        return max(1, math.ceil(self.epochs * windows / self.accumulate))

    def resumed(self, **changes: Any) -> Self:
        """Return a copy with other values to continue with; a new budget replaces the old one.

        Parameters
        ----------
        **changes : Any
            Fields and their new values.

        Returns
        -------
        TrainingConfig

        Raises
        ------
        ValueError, TypeError
            An unusable value, or a change that does not fit the state of a run that has begun.

        Examples
        --------
        >>> import fastseq
        >>> longer = fastseq.TrainingConfig(epochs=5).resumed(steps=1000)
        >>> longer.epochs, longer.steps
        (None, 1000)
        """
        if not changes:
            return self
        if changes.keys() & set(_BUDGETS):
            changes = dict.fromkeys(_BUDGETS) | changes
        config = replace(self, **changes)
        for name in ("batch_size", "seq_length", "optimizer", "optimizer_options"):
            if getattr(config, name) != getattr(self, name):
                raise ValueError(f"{name}: cannot change when a training run is resumed")
        return config

    def to_json(self) -> str:
        """Write all fields as a JSON object.

        Returns
        -------
        str
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str
            A JSON object; fields that are missing get their defaults.

        Returns
        -------
        TrainingConfig

        Raises
        ------
        TypeError, ValueError
            Not a JSON object, unknown fields, or an unusable value.
        """
        return from_json(cls, text)
