"""Learning-rate schedules: the rate as a function of how often `step` was called.

Names, arguments and values are PyTorch's. Where PyTorch repeatedly multiplies the current rate,
the rate is computed here from the initial one, so that a resumed run has the same rates bit for
bit. The shapes (`linear`, `exponential`, `cosine`) are functions of their own, for callers that
measure progress in something other than calls of `step`.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ..checks import check_mapping
from .optimizer import Optimizer


def linear(start: float, end: float, done: float) -> float:
    """A straight line from `start` at done = 0 to `end` at done = 1."""
    return start + (end - start) * done


def exponential(factor: float, done: float) -> float:
    """A decay by `factor` for each unit of `done`."""
    return factor**done


def cosine(start: float, end: float, phase: float) -> float:
    """Half a cosine wave from `start` at phase = 0 to `end` at phase = π."""
    return end + (start - end) * ((1.0 + math.cos(phase)) / 2.0)


class Schedule:
    """Base class: sets every group's ``lr`` at construction and after each `step`.

    Parameters
    ----------
    optimizer : Optimizer

    Attributes
    ----------
    last_epoch : int
        Number of calls of `step`.
    base_lrs : list of float
        The groups' rates before any schedule.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        groups = optimizer.param_groups
        self.base_lrs = [group.setdefault("initial_lr", group["lr"]) for group in groups]
        self.last_epoch = 0
        self._apply()

    def rate(self, base_lr: float, epoch: int) -> float:
        """The learning rate at this epoch for a group that began with `base_lr`."""
        raise NotImplementedError

    def step(self) -> None:
        """Advance by one epoch."""
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.rate(base_lr, self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """The groups' current rates."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The position as numbers and lists of numbers, for `load_state_dict`."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Adopt the position of another schedule of the same kind, and set the rates."""
        check_mapping("state", state, "last_epoch", "base_lrs")
        if len(state["base_lrs"]) != len(self.optimizer.param_groups):
            expected, got = len(self.optimizer.param_groups), len(state["base_lrs"])
            raise ValueError(f"base_lrs: expected {expected} of them, got {got}")
        self.last_epoch, self.base_lrs = state["last_epoch"], list(state["base_lrs"])
        self._apply()


class StepLR(Schedule):
    """Multiplies the rate by `gamma` every `step_size` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr * exponential(self.gamma, epoch // self.step_size)


class ExponentialLR(Schedule):
    """Multiplies the rate by `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr * exponential(self.gamma, epoch)


class CosineAnnealingLR(Schedule):
    """Follows a cosine from the initial rate to `eta_min` in `T_max` epochs, and back [1]_.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
           ICLR 2017.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, base_lr: float, epoch: int) -> float:
        return cosine(base_lr, self.eta_min, math.pi * epoch / self.T_max)


class LinearLR(Schedule):
    """Moves from `start_factor` to `end_factor` times the initial rate in `total_iters` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3.0,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        if not 0.0 < start_factor <= 1.0:
            raise ValueError(
                f"start_factor: expected more than 0 and at most 1, got {start_factor}"
            )
        if not 0.0 <= end_factor <= 1.0:
            raise ValueError(f"end_factor: expected between 0 and 1, got {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, base_lr: float, epoch: int) -> float:
        done = min(epoch, self.total_iters) / self.total_iters
        return base_lr * linear(self.start_factor, self.end_factor, done)


class SequentialLR(Schedule):
    """Runs several schedules in turn, each counting from its own beginning.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of Schedule
        Schedules of this optimizer.
    milestones : sequence of int
        Epochs at which the next schedule takes over, one fewer than `schedulers`.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]
    ) -> None:
        if not schedulers:
            raise ValueError("SequentialLR expects at least one scheduler, but got no scheduler.")
        for index, schedule in enumerate(schedulers):
            if not isinstance(schedule, Schedule):
                kind = type(schedule).__name__
                raise ValueError(f"SequentialLR does not support {kind}, got at index {index}")
            if schedule.optimizer is not optimizer:
                raise ValueError(
                    "SequentialLR expects all schedulers to belong to the same optimizer, but "
                    f"the one at index {index} does not"
                )
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than "
                f"the number of milestones, got {len(schedulers)} and {len(milestones)}"
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def rate(self, base_lr: float, epoch: int) -> float:
        index = bisect_right(self.milestones, epoch)
        start = self.milestones[index - 1] if index else 0
        return self.schedulers[index].rate(base_lr, epoch - start)


class ReduceLROnPlateau:
    """Multiplies the rate by `factor` when a measure has stopped improving.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether smaller or larger is better.
    factor : float
        Below 1.
    patience : int
        Epochs without improvement that are tolerated.
    threshold, threshold_mode : float, {"rel", "abs"}
        Smallest relative or absolute change that counts as an improvement.
    cooldown : int
        Epochs after a reduction that do not count.
    min_lr : float or list of float
        Lower bound, for all groups or for each.
    eps : float
        A smaller reduction is skipped.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1.0:
            raise ValueError(f"Factor should be < 1.0, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown! Expected 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"threshold mode {threshold_mode} is unknown! Expected 'rel' or 'abs'"
            )
        count = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * count
        if len(self.min_lrs) != count:
            raise ValueError(f"expected {count} min_lrs, got {len(self.min_lrs)}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def step(self, metrics: float) -> None:
        """Report the measure after an epoch."""
        self.last_epoch += 1
        if self._is_better(float(metrics)):
            self.best, self.num_bad_epochs = float(metrics), 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        margin = self.threshold
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1.0 - sign * margin)
        return sign * value < sign * self.best - margin

    def _reduce(self) -> None:
        for group, minimum in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            reduced = max(group["lr"] * self.factor, minimum)
            if group["lr"] - reduced > self.eps:
                group["lr"] = reduced

    def get_last_lr(self) -> list[float]:
        """The groups' current rates."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The position, for `load_state_dict`; the optimizer's state holds the rates."""
        names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Adopt the position of another schedule."""
        check_mapping("state", state, "best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        self.best, self.num_bad_epochs = state["best"], state["num_bad_epochs"]
        self.cooldown_counter, self.last_epoch = state["cooldown_counter"], state["last_epoch"]
