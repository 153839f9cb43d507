"""A learning rate that follows a measure, such as the loss on held-out text."""

from __future__ import annotations

import math
from typing import Any

from ..checks import check_mapping
from .optimizer import Optimizer


class ReduceLROnPlateau:
    """Multiply the rate by `factor` when a measure has stopped improving.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates are reduced.
    mode : {"min", "max"}
        Whether smaller or larger values of the measure are better.
    factor : float
        Factor of each reduction, below 1.
    patience : int
        Epochs without improvement that are tolerated.
    threshold : float
        Smallest change that counts as an improvement.
    threshold_mode : {"rel", "abs"}
        Whether `threshold` is a fraction of the best value or a difference from it.
    cooldown : int
        Epochs after a reduction that do not count.
    min_lr : float or list of float
        Lowest rate, for all groups or for each.
    eps : float
        A reduction that is not larger than this is left out.

    Attributes
    ----------
    best : float
        Best value of the measure so far.
    num_bad_epochs : int
        Epochs since then, without those of a cooldown.

    Raises
    ------
    ValueError
        An unknown mode, `factor` of 1 or more, or a wrong number of `min_lr`.

    Examples
    --------
    >>> from fastseq import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1)
    >>> schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (2.0, 1.5, 1.6, 1.7):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.05]
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
        """Report the measure after an epoch.

        Parameters
        ----------
        metrics : float
            Its value, such as a validation loss.
        """
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
        """Return the groups' current rates.

        Returns
        -------
        list of float
        """
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the position, for `load_state_dict`; the optimizer's state holds the rates.

        Returns
        -------
        dict
            Numbers by name.
        """
        names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Adopt the position of another schedule.

        Parameters
        ----------
        state : dict
            From `state_dict`.

        Raises
        ------
        TypeError, ValueError
            Not the state of such a schedule.
        """
        check_mapping("state", state, "best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        self.best, self.num_bad_epochs = state["best"], state["num_bad_epochs"]
        self.cooldown_counter, self.last_epoch = state["cooldown_counter"], state["last_epoch"]
