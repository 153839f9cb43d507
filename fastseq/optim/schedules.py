"""Learning-rate schedules: the rate as a function of how often `step` was called.

Names, arguments and values are PyTorch's. Where PyTorch repeatedly multiplies the current rate,
the rate is computed here from the initial one, so that a resumed run has the same rates bit for
bit. The shapes (`linear`, `exponential`, `cosine`) are functions of their own, for callers that
measure progress in something other than calls of `step`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ..checks import check_mapping
from .optimizer import Optimizer


def linear(start: float, end: float, done: float) -> float:
    """Follow a straight line from `start` to `end`.

    Parameters
    ----------
    start, end : float
        Values at done = 0 and done = 1.
    done : float
        Position, usually from 0 to 1.

    Returns
    -------
    float
        start + (end − start) · done.

    Examples
    --------
    >>> from fastseq.optim import schedules
    >>> schedules.linear(1.0, 0.0, 0.25)
    0.75
    """
    return start + (end - start) * done


def exponential(factor: float, done: float) -> float:
    """Decay by a constant factor.

    Parameters
    ----------
    factor : float
        Factor for each unit of `done`.
    done : float
        Position, from 0.

    Returns
    -------
    float
        factor^done.

    Examples
    --------
    >>> from fastseq.optim import schedules
    >>> schedules.exponential(0.5, 3)
    0.125
    """
    return factor**done


def cosine(start: float, end: float, phase: float) -> float:
    """Follow half a cosine wave from `start` to `end`.

    Parameters
    ----------
    start, end : float
        Values at phase = 0 and phase = π.
    phase : float
        Position in radians; beyond π the wave returns to `start`.

    Returns
    -------
    float
        end + (start − end) · (1 + cos(phase)) / 2.

    Examples
    --------
    >>> import math
    >>> from fastseq.optim import schedules
    >>> [round(schedules.cosine(1.0, 0.0, math.pi * part), 3) for part in (0, 0.25, 0.5, 1)]
    [1.0, 0.854, 0.5, 0.0]
    """
    return end + (start - end) * ((1.0 + math.cos(phase)) / 2.0)


class Schedule:
    """Base class of schedules: sets every group's ``lr`` at construction and after each `step`.

    A subclass defines `rate`.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates become the initial ones, unless a schedule has set them before.

    Attributes
    ----------
    optimizer : Optimizer
    last_epoch : int
        Number of calls of `step`.
    base_lrs : list of float
        The groups' rates before any schedule.

    Raises
    ------
    TypeError
        `optimizer` is something else.

    Examples
    --------
    >>> from fastseq import nn, optim
    >>> class InverseRoot(optim.Schedule):
    ...     def rate(self, base_lr, epoch):
    ...         return base_lr / (1 + epoch) ** 0.5
    >>> schedule = InverseRoot(optim.SGD(nn.Linear(3, 2).parameters(), lr=1.0))
    >>> for _ in range(3):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
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
        """Return the learning rate at an epoch.

        Parameters
        ----------
        base_lr : float
            The group's rate before any schedule.
        epoch : int
            Number of steps of the schedule.

        Returns
        -------
        float

        Raises
        ------
        NotImplementedError
            The base class has none.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Advance by one epoch, and set the rates."""
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.rate(base_lr, self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """Return the groups' current rates.

        Returns
        -------
        list of float
        """
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the position, for `load_state_dict`.

        Returns
        -------
        dict
            Numbers and lists of numbers.
        """
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Adopt the position of another schedule of the same kind, and set the rates.

        Parameters
        ----------
        state : dict
            From `state_dict`.

        Raises
        ------
        TypeError, ValueError
            Not the state of a schedule, or of another number of groups.
        """
        check_mapping("state", state, "last_epoch", "base_lrs")
        if len(state["base_lrs"]) != len(self.optimizer.param_groups):
            expected, got = len(self.optimizer.param_groups), len(state["base_lrs"])
            raise ValueError(f"base_lrs: expected {expected} of them, got {got}")
        self.last_epoch, self.base_lrs = state["last_epoch"], list(state["base_lrs"])
        self._apply()


class StepLR(Schedule):
    """Multiply the rate by `gamma` every `step_size` epochs.

    The rate at epoch n is lr · gamma^⌊n / step_size⌋.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates are the initial ones.
    step_size : int
        Epochs between two changes.
    gamma : float
        Factor of each change.

    Raises
    ------
    TypeError
        `optimizer` is something else.

    Examples
    --------
    >>> from fastseq import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1)
    >>> schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.025]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return base_lr · gamma^⌊epoch / step_size⌋.

        Parameters
        ----------
        base_lr : float
            The group's initial rate.
        epoch : int
            Number of steps of the schedule.

        Returns
        -------
        float
        """
        return base_lr * exponential(self.gamma, epoch // self.step_size)


class ExponentialLR(Schedule):
    """Multiply the rate by `gamma` every epoch.

    The rate at epoch n is lr · gammaⁿ.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates are the initial ones.
    gamma : float
        Factor of each epoch.

    Raises
    ------
    TypeError
        `optimizer` is something else.

    Examples
    --------
    >>> from fastseq import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1)
    >>> schedule = optim.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.05]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return base_lr · gamma^epoch.

        Parameters
        ----------
        base_lr : float
            The group's initial rate.
        epoch : int
            Number of steps of the schedule.

        Returns
        -------
        float
        """
        return base_lr * exponential(self.gamma, epoch)


class CosineAnnealingLR(Schedule):
    """Follow a cosine from the initial rate to `eta_min` in `T_max` epochs, and back [1]_.

    The rate at epoch n is eta_min + (lr − eta_min) · (1 + cos(π n / T_max)) / 2.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates are the initial ones.
    T_max : int
        Epochs from the highest rate to the lowest.
    eta_min : float
        Lowest rate.

    Raises
    ------
    TypeError
        `optimizer` is something else.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
           ICLR 2017.

    Examples
    --------
    >>> from fastseq import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1)
    >>> schedule = optim.CosineAnnealingLR(optimizer, T_max=4)
    >>> rates = []
    >>> for _ in range(4):
    ...     schedule.step()
    ...     rates += [round(rate, 4) for rate in schedule.get_last_lr()]
    >>> rates
    [0.0854, 0.05, 0.0146, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return eta_min + (base_lr − eta_min) · (1 + cos(π epoch / T_max)) / 2.

        Parameters
        ----------
        base_lr : float
            The group's initial rate.
        epoch : int
            Number of steps of the schedule.

        Returns
        -------
        float
        """
        return cosine(base_lr, self.eta_min, math.pi * epoch / self.T_max)


class LinearLR(Schedule):
    """Move from `start_factor` to `end_factor` times the initial rate in `total_iters` epochs.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates are the initial ones.
    start_factor, end_factor : float
        Factors at epoch 0 and from epoch `total_iters` on.
    total_iters : int
        Epochs of the change.

    Raises
    ------
    TypeError
        `optimizer` is something else.
    ValueError
        A factor above 1, `start_factor` not above 0, or `end_factor` below 0.

    Examples
    --------
    >>> from fastseq import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(3, 2).parameters(), lr=1.0)
    >>> schedule = optim.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.75]
    """

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
        """Return `base_lr` times the factor at an epoch.

        Parameters
        ----------
        base_lr : float
            The group's initial rate.
        epoch : int
            Number of steps of the schedule.

        Returns
        -------
        float
        """
        done = min(epoch, self.total_iters) / self.total_iters
        return base_lr * linear(self.start_factor, self.end_factor, done)


class SequentialLR(Schedule):
    """Run several schedules in turn, each counting from its own beginning.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer of all `schedulers`.
    schedulers : sequence of Schedule
        In their order.
    milestones : sequence of int
        Epochs at which the next schedule takes over; one fewer than `schedulers`.

    Raises
    ------
    TypeError
        `optimizer` is something else.
    ValueError
        No schedule, one of another optimizer or of another kind of object, or a wrong number of
        milestones.

    Examples
    --------
    A warm-up of two epochs, then a decay:

    >>> from fastseq import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(3, 2).parameters(), lr=1.0)
    >>> warmup = optim.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> decay = optim.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = optim.SequentialLR(optimizer, [warmup, decay], milestones=[2])
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.5]
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
        """Return the rate of the schedule whose turn it is at an epoch.

        Parameters
        ----------
        base_lr : float
            The group's initial rate.
        epoch : int
            Number of steps of the schedule.

        Returns
        -------
        float
        """
        index = bisect_right(self.milestones, epoch)
        start = self.milestones[index - 1] if index else 0
        return self.schedulers[index].rate(base_lr, epoch - start)
