"""Losses, each with its gradient.

The functions return ``(loss, grad)``; the modules return the loss, and the gradient from
``backward()``, so that a training step reads ``loss = criterion(y, t)``, then
``model.backward(criterion.backward())``.
"""

from __future__ import annotations

import math

import numpy as np

from ..backend import kernels
from .checks import check_array, check_ids, float_type, same_type
from .module import Module

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(
    logits: np.ndarray, targets: np.ndarray, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[float | np.ndarray, np.ndarray]:
    """Cross-entropy of softmax(logits) and a class: loss = −log softmax(logits)[target].

    Parameters
    ----------
    logits : ndarray of float32 or float64, of shape (N, C), (N, C, d₁, …) or (C,)
        Scores of C classes.
    targets : ndarray of integers from 0 to C − 1, of shape (N,), (N, d₁, …) or ()
        The right classes.
    ignore_index : int
        Targets of this value contribute neither loss nor gradient.
    reduction : {"mean", "sum", "none"}
        Mean over the targets that are not ignored (NaN without any), sum, or one loss for each
        target.

    Returns
    -------
    loss : float, or with "none" ndarray of the shape of targets
        In nats.
    grad : ndarray of the shape of logits
        d loss / d logits; with "none" that of the sum of the losses.

    Raises
    ------
    TypeError
        Not NumPy arrays of these kinds of numbers.
    ValueError
        An unknown `reduction`, or not N targets.
    RuntimeError
        Other shapes that do not go together.
    IndexError
        A target that is no class; the message names its position.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> loss, grad = nn.cross_entropy(np.zeros((2, 4), np.float32), np.array([3, 1]))
    >>> round(loss, 4), grad[0].tolist()  # log 4; (softmax − onehot) / 2
    (1.3863, [0.125, 0.125, 0.125, -0.375])
    """
    _check_reduction(reduction)
    dtype = _float_array("logits", logits)
    last = logits if logits.ndim == 1 else np.moveaxis(logits, 1, -1)
    ids = _checked_targets(targets, last.shape, ignore_index)
    grad = np.array(last, dtype, order="C")
    rows, losses = grad.reshape(-1, last.shape[-1]), np.zeros(ids.size, dtype)
    count = int(np.count_nonzero(ids >= 0))
    scale = 1.0 / count if reduction == "mean" and count else 1.0
    if ids.size:
        kernels(dtype).softmax_cross_entropy(rows, ids, scale, losses, rows)
    grad = grad if logits.ndim == 1 else np.moveaxis(grad, -1, 1)
    if reduction == "none":
        return losses.reshape(last.shape[:-1]), grad
    return _reduced(losses, count, reduction), grad


def mse_loss(
    x: np.ndarray, target: np.ndarray, reduction: str = "mean"
) -> tuple[float | np.ndarray, np.ndarray]:
    """Squared error: loss = (x − target)².

    Parameters
    ----------
    x : ndarray of float32 or float64, of any shape
    target : ndarray of the shape and dtype of x
    reduction : {"mean", "sum", "none"}
        Mean over all elements (NaN without any), sum, or one loss for each element.

    Returns
    -------
    loss : float, or with "none" ndarray of the shape of x
    grad : ndarray of the shape of x
        d loss / d x; with "none" that of the sum of the losses.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        Not NumPy arrays of floats; two dtypes, or an unknown `reduction`; two shapes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> loss, grad = nn.mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    >>> loss, grad.tolist()
    (2.0, [0.0, -2.0])
    """
    _check_reduction(reduction)
    dtype = _float_array("x", x)
    _float_array("target", target)
    if x.shape != target.shape:
        raise RuntimeError(f"target: expected shape {x.shape}, got {target.shape}")
    if not same_type(target, dtype):
        raise ValueError(f"target: expected dtype {dtype}, got {target.dtype}")
    difference = np.subtract(x, target, dtype=dtype)
    grad = difference * dtype.type(2.0 / max(x.size, 1) if reduction == "mean" else 2.0)
    if reduction == "none":
        return difference * difference, grad
    return _reduced(difference * difference, x.size, reduction), grad


class CrossEntropyLoss(Module):
    """Cross-entropy as a module, whose `backward` gives the gradient of the logits.

    Each call replaces the gradient of the call before.

    Parameters
    ----------
    ignore_index : int
        Targets of this value contribute neither loss nor gradient.
    reduction : {"mean", "sum", "none"}
        See `cross_entropy`.

    Raises
    ------
    ValueError
        An unknown `reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> model, criterion = nn.Linear(3, 4, seed=0), nn.CrossEntropyLoss()
    >>> loss = criterion(model(np.ones((2, 3), np.float32)), np.array([3, 1]))
    >>> model.backward(criterion.backward()).shape
    (2, 3)
    """

    def __init__(self, ignore_index: int = -100, reduction: str = "mean") -> None:
        _check_reduction(reduction)
        self.ignore_index, self.reduction = ignore_index, reduction
        self._grad: np.ndarray | None = None

    def forward(self, logits: np.ndarray, targets: np.ndarray) -> float | np.ndarray:
        """Compute the loss, and keep the gradient for `backward`.

        Parameters
        ----------
        logits : ndarray of float32 or float64, of shape (N, C), (N, C, d₁, …) or (C,)
        targets : ndarray of integers from 0 to C − 1, of shape (N,), (N, d₁, …) or ()

        Returns
        -------
        float, or with "none" ndarray of the shape of `targets`
            In nats.

        Raises
        ------
        TypeError, ValueError, RuntimeError, IndexError
            See `cross_entropy`.
        """
        loss, self._grad = cross_entropy(logits, targets, self.ignore_index, self.reduction)
        return loss

    def backward(self) -> np.ndarray:
        """Return the gradient of the last forward call's logits.

        Returns
        -------
        ndarray of the shape of the logits

        Raises
        ------
        RuntimeError
            There was no forward call.
        """
        return _present(self._grad)


class MSELoss(Module):
    """Squared error as a module, whose `backward` gives the gradient of x.

    Each call replaces the gradient of the call before.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        See `mse_loss`.

    Raises
    ------
    ValueError
        An unknown `reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> criterion = nn.MSELoss()
    >>> criterion(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    2.0
    >>> criterion.backward().tolist()
    [0.0, -2.0]
    """

    def __init__(self, reduction: str = "mean") -> None:
        _check_reduction(reduction)
        self.reduction = reduction
        self._grad: np.ndarray | None = None

    def forward(self, x: np.ndarray, target: np.ndarray) -> float | np.ndarray:
        """Compute the loss, and keep the gradient for `backward`.

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
            See `mse_loss`.
        """
        loss, self._grad = mse_loss(x, target, self.reduction)
        return loss

    def backward(self) -> np.ndarray:
        """Return the gradient of the last forward call's x.

        Returns
        -------
        ndarray of the shape of x

        Raises
        ------
        RuntimeError
            There was no forward call.
        """
        return _present(self._grad)


def _present(grad: np.ndarray | None) -> np.ndarray:
    if grad is None:
        raise RuntimeError("backward: there was no forward call")
    return grad


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        expected = ", ".join(REDUCTIONS)
        raise ValueError(f"{reduction} is not a valid value for reduction, expected {expected}")


def _float_array(name: str, array: np.ndarray) -> np.dtype:
    check_array(name, array)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}")
    return float_type(array.dtype)


def _checked_targets(targets: np.ndarray, shape: tuple[int, ...], ignore_index: int) -> np.ndarray:
    """Flat int64 targets in which those to be ignored are −1."""
    if not shape:
        raise RuntimeError("logits: expected at least one axis, got a scalar")
    ids = check_ids("targets", targets)
    expected, classes = shape[:-1], shape[-1]
    if ids.shape != expected:
        if ids.shape[:1] != expected[:1]:
            raise ValueError(
                f"Expected input batch_size ({expected[:1]}) to match target batch_size "
                f"({ids.shape[:1]}): expected target shape {expected}, got {ids.shape}"
            )
        raise RuntimeError(f"Expected target size {expected}, got {ids.shape}")
    flat = ids.reshape(-1)
    ignored = flat == ignore_index
    wrong = np.flatnonzero(((flat < 0) | (flat >= classes)) & ~ignored)
    if wrong.size:
        raise IndexError(
            f"Target {flat[wrong[0]]} is out of bounds: expected 0 <= target < {classes} "
            f"at position {wrong[0]}"
        )
    return np.where(ignored, np.int64(-1), flat)


def _reduced(losses: np.ndarray, count: int, reduction: str) -> float:
    total = float(losses.sum(dtype=np.float64))
    if reduction == "sum":
        return total
    return total / count if count else math.nan
