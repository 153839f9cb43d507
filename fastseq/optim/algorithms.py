"""SGD, Adagrad, RMSprop, Adam, AdamW: PyTorch's formulas, names and defaults."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np

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
        return {"velocity": 0.0} if group["momentum"] else {}

    def _leaves_other_rows(self, group: dict[str, Any]) -> bool:
        return not group["momentum"] and not group["weight_decay"]

    def _update(
        self,
        k: SimpleNamespace,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        scale: float,
        limit: float,
    ) -> None:
        k.sgd(
            segment.data, segment.grad, segment.state.get("velocity"), rows, scale, limit,
            group["lr"], group["weight_decay"], group["momentum"], group["dampening"],
            group["nesterov"], group["step"] == 1,
        )  # fmt: skip


class Adagrad(Optimizer):
    """m ← m + g², p ← p − lr · g / (√m + ε) [1]_.

    Parameters
    ----------
    params : iterable of Parameter or of dicts
    lr, lr_decay, weight_decay, initial_accumulator_value, eps : float
        At step s the rate is lr / (1 + (s − 1) · lr_decay).
    eps_inside_sqrt : bool
        Divide by √(m + ε) instead, as many short programs do.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning
           and stochastic optimization", JMLR 12, 2011.
    """

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
        return {"memory": group["initial_accumulator_value"]}

    def _leaves_other_rows(self, group: dict[str, Any]) -> bool:
        return not group["weight_decay"]

    def _update(
        self,
        k: SimpleNamespace,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        scale: float,
        limit: float,
    ) -> None:
        lr = group["lr"] / (1.0 + (group["step"] - 1) * group["lr_decay"])
        k.adagrad(
            segment.data, segment.grad, segment.state["memory"], rows, scale, limit,
            lr, group["weight_decay"], group["eps"], group["eps_inside_sqrt"],
        )  # fmt: skip


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
        used = {"square": True, "mean": group["centered"], "velocity": group["momentum"] > 0}
        return {name: 0.0 for name, wanted in used.items() if wanted}

    def _update(
        self,
        k: SimpleNamespace,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        scale: float,
        limit: float,
    ) -> None:
        state = segment.state
        k.rmsprop(
            segment.data, segment.grad, state["square"], state.get("mean"), state.get("velocity"),
            scale, limit, group["lr"], group["weight_decay"], group["alpha"], group["eps"],
            group["momentum"],
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
        return {"mean": 0.0, "square": 0.0}

    def _update(
        self,
        k: SimpleNamespace,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        scale: float,
        limit: float,
    ) -> None:
        k.adam(
            segment.data, segment.grad, segment.state["mean"], segment.state["square"],
            scale, limit, group["lr"], group["weight_decay"], *group["betas"], group["eps"],
            group["step"], self._decoupled,
        )  # fmt: skip


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
