"""What all losses share: reductions, checks, and the gradient that waits for `backward`.

The functions return ``(loss, grad)``; the modules return the loss, and the gradient from
``backward()``, so that a training step reads ``loss = criterion(y, t)``, then
``model.backward(criterion.backward())``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .calls import mark_gradient
from .checks import check_float_array, same_type
from .module import Module

REDUCTIONS = ("mean", "sum", "none")
LossAndGradient = tuple[float | np.ndarray, np.ndarray]


class Loss(Module):
    """Base class of the losses.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    """

    def __init__(self, reduction: str) -> None:
        check_reduction(reduction)
        self.reduction = reduction
        self._grad: np.ndarray | None = None
        self._loss_shape: tuple[int, ...] = ()

    def _keep(self, result: LossAndGradient) -> float | np.ndarray:
        """The loss; its gradient waits for `backward`."""
        loss, grad = result
        if self.saves_for_backward():
            self._grad, self._loss_shape = grad, np.shape(loss)
        return loss

    def backward(self, weights: npt.ArrayLike | None = None) -> np.ndarray:
        """Return the gradient of the last forward call, once.

        Forward calls in eval mode or under `fastseq.no_grad` do not count.

        Parameters
        ----------
        weights : array_like of the shape of the loss, or None for ones
            With "none" the weight wᵢ of each loss; otherwise a number, the factor of the loss.

        Returns
        -------
        ndarray of the shape of the first argument of `forward`
            The gradient of Σᵢ wᵢ · lossᵢ with respect to it.

        Raises
        ------
        RuntimeError
            There was no forward call in training mode since the last `backward`, or `weights` of
            another shape.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> criterion = nn.MSELoss(reduction="none")
        >>> criterion(np.array([1.0, 2.0]), np.array([0.0, 0.0])).tolist()
        [1.0, 4.0]
        >>> criterion.backward(weights=[1.0, 0.5]).tolist()
        [2.0, 2.0]
        """
        grad = self._grad
        if grad is None:
            raise RuntimeError(
                "backward: there was no forward call in training mode since the last backward; "
                "two losses that wait for it at the same time need a criterion each"
            )
        if weights is not None:
            grad = self._weighted(grad, np.asarray(weights, grad.dtype))
        self._grad = None
        return grad

    def _weighted(self, grad: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if weights.shape != self._loss_shape:
            raise RuntimeError(
                f"weights: expected the shape of the loss, {self._loss_shape}, got {weights.shape}"
            )
        if 0 < weights.ndim < grad.ndim:
            weights = weights[:, None]  # classes are on axis 1 of the gradient
        weighted = grad * weights
        mark_gradient(weighted, grad)
        return weighted

    def _drop_calls(self, since: int) -> None:
        if not since:
            self._grad = None


class ElementLoss(Loss):
    """Base class of the losses of each element of one array beside that of another."""

    def forward(self, x: np.ndarray, target: np.ndarray) -> float | np.ndarray:
        """Compute the loss, and keep the gradient with respect to x for `backward`.

        Parameters
        ----------
        x : ndarray of float32 or float64, of any shape
        target : ndarray of the shape and dtype of x

        Returns
        -------
        float, or with "none" ndarray of the shape of `x`

        Raises
        ------
        TypeError, ValueError, RuntimeError
            Not NumPy arrays of floats; two dtypes; two shapes.
        """
        return self._keep(self._loss(x, target))

    def _loss(self, x: np.ndarray, target: np.ndarray) -> LossAndGradient:
        raise NotImplementedError

    if TYPE_CHECKING:
        __call__ = forward


def check_reduction(reduction: str) -> None:
    """ValueError for an unknown one."""
    if reduction not in REDUCTIONS:
        expected = ", ".join(REDUCTIONS)
        raise ValueError(f"{reduction} is not a valid value for reduction, expected {expected}")


def check_elements(x: np.ndarray, target: np.ndarray) -> np.dtype:
    """The native dtype of two arrays of floats of the same shape and type.

    Raises
    ------
    TypeError, RuntimeError, ValueError
        Not arrays of floats; two shapes; two dtypes.
    """
    dtype = check_float_array("x", x)
    check_float_array("target", target)
    if x.shape != target.shape:
        raise RuntimeError(f"target: expected shape {x.shape}, got {target.shape}")
    if not same_type(target, dtype):
        raise ValueError(f"target: expected dtype {dtype}, got {target.dtype}")
    return dtype


def reduce_elements(
    x: np.ndarray, losses: np.ndarray, grad: np.ndarray, reduction: str
) -> LossAndGradient:
    """Losses of the elements of x and their gradients, reduced."""
    losses, grad = np.asarray(losses), np.asarray(grad)  # NumPy makes scalars of 0-d arrays
    if reduction == "mean":
        grad *= grad.dtype.type(1.0 / max(x.size, 1))
    mark_gradient(grad, x)
    return reduced(losses, losses.size, reduction), grad


def reduced(losses: np.ndarray, count: float, reduction: str) -> float | np.ndarray:
    """The losses, their sum, or their sum divided by `count`."""
    if reduction == "none":
        return losses
    total = float(losses.sum(dtype=np.float64))
    if reduction == "sum":
        return total
    return total / count if count else math.nan
