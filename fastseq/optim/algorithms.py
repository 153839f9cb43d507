"""SGD, Adagrad, RMSprop, Adam, AdamW: PyTorch's formulas, names and defaults."""

from __future__ import annotations

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
    """Stochastic gradient descent, optionally with momentum [1]_.

    With g for the gradient plus weight_decay · p, each step computes::

        p ← p − lr · g                          without momentum
        v ← momentum · v + (1 − dampening) · g  with momentum; the first step sets v = g
        p ← p − lr · v                          or p ← p − lr · (g + momentum · v) with nesterov

    Without momentum and weight decay, rows of an embedding that have no gradient cost nothing.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts with a "params" entry
        What to optimize; see `Optimizer` for groups.
    lr : float
        Learning rate.
    momentum : float
        Fraction of v that is kept; 0 for none.
    dampening : float
        Part of the gradient that does not enter v.
    weight_decay : float
        Factor on p, which is added to the gradient.
    nesterov : bool
        Use Nesterov's form of momentum; it needs `momentum` and no `dampening`.

    Raises
    ------
    TypeError
        Something other than parameters.
    ValueError
        No parameters, one of them twice, two dtypes in one group, or an option out of range.

    References
    ----------
    .. [1] I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and
           momentum in deep learning", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn, optim
    >>> weight = nn.Parameter(np.array([4.0]))
    >>> optimizer = optim.SGD([weight], lr=0.25)
    >>> for _ in range(3):  # minimize weight²
    ...     weight.grad = 2 * weight.data
    ...     optimizer.step()
    >>> weight.data.tolist()
    [0.5]
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
    """Adagrad [1]_: a rate for each weight, which falls with its gradients so far.

    With g for the gradient plus weight_decay · p, step n = 1, 2, … computes::

        s ← s + g²
        p ← p − lr / (1 + (n − 1) · lr_decay) · g / (√s + eps)

    Without weight decay, rows of an embedding that have no gradient cost nothing.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts with a "params" entry
        What to optimize; see `Optimizer` for groups.
    lr : float
        Learning rate.
    lr_decay : float
        Decay of the learning rate.
    weight_decay : float
        Factor on p, which is added to the gradient.
    initial_accumulator_value : float
        First value of s.
    eps : float
        Keeps the denominator from being zero.
    eps_inside_sqrt : bool
        Divide by √(s + eps) instead, as many short programs do.

    Raises
    ------
    TypeError
        Something other than parameters.
    ValueError
        No parameters, one of them twice, two dtypes in one group, or an option out of range.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning
           and stochastic optimization", JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn, optim
    >>> weight = nn.Parameter(np.zeros(2))
    >>> weight.grad = [3.0, -0.01]
    >>> optim.Adagrad([weight], lr=0.1).step()
    >>> weight.data.round(4).tolist()  # the first step has the same length for all weights
    [-0.1, 0.1]
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
    """RMSprop [1]_: gradients divided by a running root mean square, optionally with momentum.

    With g for the gradient plus weight_decay · p, each step computes::

        s ← alpha · s + (1 − alpha) · g²
        m ← alpha · m + (1 − alpha) · g         with centered, otherwise m = 0
        u = g / (√(s − m²) + eps)
        v ← momentum · v + u                    with momentum, otherwise v = u
        p ← p − lr · v

    Parameters
    ----------
    params : iterable of Parameter, or of dicts with a "params" entry
        What to optimize; see `Optimizer` for groups.
    lr : float
        Learning rate.
    alpha : float
        Fraction of the running means that is kept.
    eps : float
        Keeps the denominator from being zero.
    weight_decay : float
        Factor on p, which is added to the gradient.
    momentum : float
        Fraction of v that is kept; 0 for none.
    centered : bool
        Divide by the standard deviation instead of the root mean square.

    Raises
    ------
    TypeError
        Something other than parameters.
    ValueError
        No parameters, one of them twice, two dtypes in one group, or an option out of range.

    References
    ----------
    .. [1] T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", Coursera, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn, optim
    >>> weight = nn.Parameter(np.zeros(2))
    >>> weight.grad = [3.0, -0.01]
    >>> optim.RMSprop([weight], lr=0.01, alpha=0.99).step()
    >>> weight.data.round(4).tolist()
    [-0.1, 0.1]
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
    """Adam [1]_: running means of the gradient and its square, corrected for their start at 0.

    With g for the gradient plus weight_decay · p, step n = 1, 2, … computes::

        m ← β₁ m + (1 − β₁) g,   m̂ = m / (1 − β₁ⁿ)
        v ← β₂ v + (1 − β₂) g²,  v̂ = v / (1 − β₂ⁿ)
        p ← p − lr · m̂ / (√v̂ + eps)

    Parameters
    ----------
    params : iterable of Parameter, or of dicts with a "params" entry
        What to optimize; see `Optimizer` for groups.
    lr : float
        Learning rate.
    betas : (float, float)
        β₁ and β₂, the fractions of the running means that are kept.
    eps : float
        Keeps the denominator from being zero.
    weight_decay : float
        Factor on p, which is added to the gradient; see `AdamW` for weight decay beside it.

    Raises
    ------
    TypeError
        Something other than parameters.
    ValueError
        No parameters, one of them twice, two dtypes in one group, or an option out of range.

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn, optim
    >>> weight = nn.Parameter(np.array([4.0]))
    >>> optimizer = optim.Adam([weight], lr=0.1)
    >>> for _ in range(100):  # minimize weight²
    ...     weight.grad = 2 * weight.data
    ...     optimizer.step()
    >>> bool(abs(weight.data[0]) < 0.1)
    True
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
    """Adam with weight decay beside the gradient [1]_.

    Before a step of `Adam` without weight decay, p ← p · (1 − lr · weight_decay).

    Parameters
    ----------
    params : iterable of Parameter, or of dicts with a "params" entry
        What to optimize; see `Optimizer` for groups.
    lr : float
        Learning rate.
    betas : (float, float)
        Fractions of the running means of gradient and squared gradient that are kept.
    eps : float
        Keeps the denominator from being zero.
    weight_decay : float
        Decay of p, in units of `lr`.

    Raises
    ------
    TypeError
        Something other than parameters.
    ValueError
        No parameters, one of them twice, two dtypes in one group, or an option out of range.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn, optim
    >>> weight = nn.Parameter(np.array([4.0]))  # its gradient is zero
    >>> optim.AdamW([weight], lr=0.1, weight_decay=0.5).step()
    >>> weight.data.round(4).tolist()
    [3.8]
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
