"""The loss of yes and no: binary cross-entropy from logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .loss import ElementLoss, LossAndGradient, check_elements, check_reduction, reduce_elements


def binary_cross_entropy_with_logits(
    x: np.ndarray,
    target: np.ndarray,
    weight: npt.ArrayLike | None = None,
    *,
    reduction: str = "mean",
    pos_weight: npt.ArrayLike | None = None,
) -> LossAndGradient:
    """Cross-entropy of yes and no, for each element: p = σ(x) is the probability of yes.

    loss = −w (p₊ target log σ(x) + (1 − target) log(1 − σ(x))), where w is `weight` and p₊ is
    `pos_weight`. It is finite for every finite x.

    Parameters
    ----------
    x : ndarray of float32 or float64, of any shape
        Logits.
    target : ndarray of the shape and dtype of x
        1 for yes, 0 for no, or a probability.
    weight : array_like that broadcasts to the shape of x, or None
        Weight of each element; None for ones.
    reduction : {"mean", "sum", "none"}
        Mean over all elements, whatever their weights; sum; or one loss for each element.
    pos_weight : array_like that broadcasts to the shape of x, or None
        Weight of yes beside no, such as one for each class on the last axis; None for ones.

    Returns
    -------
    loss : float, or with "none" ndarray of the shape of x
        In nats.
    grad : ndarray of the shape of x
        d loss / d x; with "none" that of the sum of the losses.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As of `mse_loss`; RuntimeError for weights that do not broadcast, too.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> x, target = np.array([0.0, 0.0]), np.array([1.0, 0.0])
    >>> loss, grad = nn.binary_cross_entropy_with_logits(x, target, pos_weight=3.0)
    >>> round(loss, 4), grad.tolist()  # (3 log 2 + log 2) / 2
    (1.3863, [-0.75, 0.25])
    """
    check_reduction(reduction)
    dtype = check_elements(x, target)
    given, x, t = x, np.asarray(x, dtype), np.asarray(target, dtype)
    yes = dtype.type(1) if pos_weight is None else _broadcast("pos_weight", pos_weight, x)
    small = np.exp(-np.abs(x))  # of σ(−|x|) = small / (1 + small), which never overflows
    no_probability = np.where(x < 0, 1, small) / (1 + small)  # σ(−x)
    no_loss = np.log1p(small) + np.maximum(-x, 0)  # −log σ(x)
    factor = 1 + (yes - 1) * t
    losses, grad = (1 - t) * x + factor * no_loss, (1 - t) - factor * no_probability
    if weight is not None:
        w = _broadcast("weight", weight, x)
        losses, grad = losses * w, grad * w
    return reduce_elements(given, losses, grad, reduction)


class BCEWithLogitsLoss(ElementLoss):
    """Cross-entropy of yes and no as a module; see `binary_cross_entropy_with_logits`.

    Parameters
    ----------
    weight : array_like that broadcasts to the shape of x, or None
        Weight of each element; None for ones.
    reduction : {"mean", "sum", "none"}
        Mean over all elements, sum, or one loss for each element.
    pos_weight : array_like that broadcasts to the shape of x, or None
        Weight of yes beside no; None for ones.

    Raises
    ------
    ValueError
        An unknown `reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> criterion = nn.BCEWithLogitsLoss(pos_weight=3.0)
    >>> loss = criterion(np.array([0.0, 0.0]), np.array([1.0, 0.0]))
    >>> criterion.backward().tolist()
    [-0.75, 0.25]
    """

    def __init__(
        self,
        weight: npt.ArrayLike | None = None,
        *,
        reduction: str = "mean",
        pos_weight: npt.ArrayLike | None = None,
    ) -> None:
        super().__init__(reduction)
        self.weight, self.pos_weight = weight, pos_weight

    def _loss(self, x: np.ndarray, target: np.ndarray) -> LossAndGradient:
        return binary_cross_entropy_with_logits(
            x, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


def _broadcast(name: str, weight: Any, x: np.ndarray) -> np.ndarray:
    """A weight as an array of x's type, which broadcasts to x's shape."""
    array = np.asarray(weight, x.dtype)
    try:
        np.broadcast_to(array, x.shape)
    except ValueError:
        raise RuntimeError(
            f"{name}: expected a shape that broadcasts to {x.shape}, got {array.shape}"
        ) from None
    return array
