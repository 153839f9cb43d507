"""SGD, Adagrad, RMSprop, Adam, AdamW: PyTorch's formulas, names and defaults."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from .._kernels.records import (
    AdagradOptions,
    AdamOptions,
    Clip,
    RMSpropOptions,
    SGDOptions,
)
from ..nn import Parameter
from .optimizer import Optimizer
from .segments import Segment

Params = Iterable[Parameter] | Iterable[dict[str, Any]]


def _check_not_negative(group: dict[str, Any], **labels: str) -> None:
    for name, label in labels.items():
        if not group[name] >= 0.0:  # NaN is refused, too
            raise ValueError(f"Invalid {label}: {group[name]}")


class SGD(Optimizer):
    """Gradient descent: p ← p − lr · g, with momentum v ← μ v + (1 − dampening) g, p ← p − lr · v.

    Parameters
    ----------
    params : iterable of Parameter or of dicts
    lr, momentum, dampening, weight_decay : float
    nesterov : bool
        Step along g + μ v; needs momentum and no dampening.
    """

    _earlier_names: ClassVar[dict[str, str]] = {"velocity": "momentum_buffer"}

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening,
            "weight_decay": weight_decay, "nesterov": nesterov,
        })  # fmt: skip

    def _check_options(self, group: dict[str, Any]) -> None:
        _check_not_negative(
            group, lr="learning rate", momentum="momentum value", weight_decay="weight_decay value"
        )
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def _initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def _leaves_other_rows(self, group: dict[str, Any]) -> bool:
        return not group["momentum"] and not group["weight_decay"]

    def _update(
        self,
        k: Any,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        clip: Clip,
    ) -> None:
        options = SGDOptions(
            group["lr"], group["momentum"], group["dampening"], group["nesterov"],
            group["step"] == 1,
        )  # fmt: skip
        buffer = segment.state.get("momentum_buffer")
        k.sgd(segment.data, segment.grad, buffer, rows, clip, options)


class Adagrad(Optimizer):
    """s ← s + g², p ← p − lr · g / (√s + ε) [1]_.

    Parameters
    ----------
    params : iterable of Parameter or of dicts
    lr, lr_decay, weight_decay, initial_accumulator_value, eps : float
        At step n the rate is lr / (1 + (n − 1) · lr_decay).
    eps_inside_sqrt : bool
        Divide by √(s + ε) instead, as many short programs do.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning
           and stochastic optimization", JMLR 12, 2011.
    """

    _earlier_names: ClassVar[dict[str, str]] = {"memory": "sum_of_squares"}

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        eps_inside_sqrt: bool = False,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "eps": eps,
            "eps_inside_sqrt": eps_inside_sqrt,
        })  # fmt: skip

    def _check_options(self, group: dict[str, Any]) -> None:
        _check_not_negative(
            group,
            lr="learning rate",
            lr_decay="lr_decay value",
            weight_decay="weight_decay value",
            initial_accumulator_value="initial_accumulator_value value",
            eps="epsilon value",
        )

    def _initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        return {"sum_of_squares": group["initial_accumulator_value"]}

    def _leaves_other_rows(self, group: dict[str, Any]) -> bool:
        return not group["weight_decay"]

    def _update(
        self,
        k: Any,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        clip: Clip,
    ) -> None:
        lr = group["lr"] / (1.0 + (group["step"] - 1) * group["lr_decay"])
        options = AdagradOptions(lr, group["eps"], group["eps_inside_sqrt"])
        sums = segment.state["sum_of_squares"]
        k.adagrad(segment.data, segment.grad, sums, rows, clip, options)


class RMSprop(Optimizer):
    """s ← α s + (1 − α) g², p ← p − lr · g / (√s + ε) [1]_.

    Parameters
    ----------
    params : iterable of Parameter or of dicts
    lr, alpha, eps, weight_decay, momentum : float
    centered : bool
        Subtract the square of a running mean of g from s.

    References
    ----------
    .. [1] T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", Coursera, 2012.
    """

    _earlier_names: ClassVar[dict[str, str]] = {
        "square": "square_avg",
        "mean": "grad_avg",
        "velocity": "momentum_buffer",
    }

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(params, {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay,
            "momentum": momentum, "centered": centered,
        })  # fmt: skip

    def _check_options(self, group: dict[str, Any]) -> None:
        _check_not_negative(
            group,
            lr="learning rate",
            alpha="alpha value",
            eps="epsilon value",
            weight_decay="weight_decay value",
            momentum="momentum value",
        )

    def _initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        used = {
            "square_avg": True,
            "grad_avg": group["centered"],
            "momentum_buffer": group["momentum"] > 0,
        }
        return {name: 0.0 for name, wanted in used.items() if wanted}

    def _update(
        self,
        k: Any,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        clip: Clip,
    ) -> None:
        state = segment.state
        options = RMSpropOptions(group["lr"], group["alpha"], group["eps"], group["momentum"])
        k.rmsprop(
            segment.data, segment.grad, state["square_avg"], state.get("grad_avg"),
            state.get("momentum_buffer"), clip, options,
        )  # fmt: skip


class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², p ← p − lr · m̂ / (√v̂ + ε) [1]_.

    Parameters
    ----------
    params : iterable of Parameter or of dicts
    lr, eps, weight_decay : float
        Weight decay enters the gradient.
    betas : pair of float

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    _decoupled = False
    _earlier_names: ClassVar[dict[str, str]] = {"mean": "exp_avg", "square": "exp_avg_sq"}

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def _check_options(self, group: dict[str, Any]) -> None:
        _check_not_negative(
            group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value"
        )
        for index, beta in enumerate(group["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {index}: {beta}")

    def _initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _update(
        self,
        k: Any,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        clip: Clip,
    ) -> None:
        beta1, beta2 = group["betas"]
        options = AdamOptions(
            group["lr"], beta1, beta2, group["eps"], group["step"], self._decoupled
        )
        state = segment.state
        k.adam(segment.data, segment.grad, state["exp_avg"], state["exp_avg_sq"], clip, options)


class AdamW(Adam):
    """`Adam` with weight decay on the parameter itself: p ← p · (1 − lr · weight_decay) [1]_.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    _decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
