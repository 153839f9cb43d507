"""Losses of classes: cross-entropy from logits and from log-probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..backend import kernels
from .calls import mark_gradient
from .checks import check_float_array, check_ids
from .loss import Loss, LossAndGradient, check_reduction, reduced


def cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    weight: npt.ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> LossAndGradient:
    """Cross-entropy of softmax(logits) and a class: loss = −w[target] log softmax(logits)[target].

    With `label_smoothing` ε the target is the class with probability 1 − ε, and with ε any of the
    C classes [1]_: loss = −Σ_c w[c] q[c] log softmax(logits)[c], q = (1 − ε) onehot + ε / C.

    Parameters
    ----------
    logits : ndarray of float32 or float64, of shape (N, C), (N, C, d₁, …) or (C,)
        Scores of C classes.
    targets : ndarray of integers from 0 to C − 1, of shape (N,), (N, d₁, …) or ()
        The right classes.
    weight : array_like of shape (C,), or None
        Weight w of each class; None for ones.
    ignore_index : int
        Targets of this value contribute neither loss nor gradient.
    reduction : {"mean", "sum", "none"}
        Mean over the targets that are not ignored, each counted with the weight of its class (NaN
        without any); sum; or one loss for each target.
    label_smoothing : float
        ε, 0 to 1.

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
        Other shapes that do not go together, or `label_smoothing` outside of [0, 1].
    IndexError
        A target that is no class; the message names its position.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR
           2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> loss, grad = nn.cross_entropy(np.zeros((2, 4), np.float32), np.array([3, 1]))
    >>> round(loss, 4), grad[0].tolist()  # log 4; (softmax − onehot) / 2
    (1.3863, [0.125, 0.125, 0.125, -0.375])
    """
    _check_smoothing(label_smoothing)
    check_reduction(reduction)
    dtype = check_float_array("logits", logits)
    z = _classes_last(logits)
    ids = _checked_targets(targets, z.shape, ignore_index, "logits")
    factors, grad = _factors(weight, ids, z.shape[-1], dtype), np.array(z, dtype, order="C")
    rows, losses = grad.reshape(-1, z.shape[-1]), np.zeros(ids.size, dtype)
    if ids.size:
        kernels(dtype).softmax_cross_entropy(rows, ids, 1.0, losses, rows)
        if weight is not None:
            losses, rows[...] = losses * factors, rows * factors[:, None]
        if label_smoothing > 0:
            logit_rows = np.array(z, dtype).reshape(rows.shape)
            _smooth(logit_rows, ids, weight, label_smoothing, losses, rows)
    return _finished(logits, losses, rows.reshape(z.shape), factors, reduction)


def nll_loss(
    log_probabilities: np.ndarray,
    targets: np.ndarray,
    weight: npt.ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> LossAndGradient:
    """Negative log-likelihood of a class: loss = −w[target] log_probabilities[target].

    After `LogSoftmax` it is the `cross_entropy`.

    Parameters
    ----------
    log_probabilities : ndarray of float32 or float64, of shape (N, C), (N, C, d₁, …) or (C,)
        Of C classes.
    targets : ndarray of integers from 0 to C − 1, of shape (N,), (N, d₁, …) or ()
        The right classes.
    weight : array_like of shape (C,), or None
        Weight w of each class; None for ones.
    ignore_index : int
        Targets of this value contribute neither loss nor gradient.
    reduction : {"mean", "sum", "none"}
        As of `cross_entropy`.

    Returns
    -------
    loss : float, or with "none" ndarray of the shape of targets
    grad : ndarray of the shape of log_probabilities
        d loss / d log_probabilities; with "none" that of the sum of the losses.

    Raises
    ------
    TypeError, ValueError, RuntimeError, IndexError
        As of `cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> log_probabilities = np.log([[0.5, 0.25, 0.25]])
    >>> loss, grad = nn.nll_loss(log_probabilities, np.array([1]))
    >>> round(loss, 4), grad.tolist()  # log 4
    (1.3863, [[0.0, -1.0, 0.0]])
    """
    check_reduction(reduction)
    dtype = check_float_array("log_probabilities", log_probabilities)
    z = _classes_last(log_probabilities)
    ids = _checked_targets(targets, z.shape, ignore_index, "log_probabilities")
    factors, grad = _factors(weight, ids, z.shape[-1], dtype), np.zeros(z.shape, dtype)
    losses, kept = np.zeros(ids.size, dtype), np.flatnonzero(ids >= 0)
    right = kept, ids[kept]
    losses[kept] = -factors[kept] * z.reshape(-1, z.shape[-1])[right]
    grad.reshape(-1, z.shape[-1])[right] = -factors[kept]
    return _finished(log_probabilities, losses, grad, factors, reduction)


class CrossEntropyLoss(Loss):
    """Cross-entropy as a module, whose `backward` gives the gradient of the logits.

    Parameters
    ----------
    weight : array_like of shape (C,), or None
        Weight of each class; None for ones.
    ignore_index : int
        Targets of this value contribute neither loss nor gradient.
    reduction : {"mean", "sum", "none"}
        See `cross_entropy`.
    label_smoothing : float
        Probability that is spread over all classes, 0 to 1.

    Raises
    ------
    ValueError, RuntimeError
        An unknown `reduction`; `label_smoothing` outside of [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> model, criterion = nn.Linear(3, 4, seed=0), nn.CrossEntropyLoss()
    >>> loss = criterion(model(np.ones((2, 3), np.float32)), np.array([3, 1]))
    >>> model.backward(criterion.backward()).shape
    (2, 3)
    """

    def __init__(
        self,
        weight: npt.ArrayLike | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        _check_smoothing(label_smoothing)
        self.weight, self.ignore_index = weight, ignore_index
        self.label_smoothing = label_smoothing

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
        return self._keep(
            cross_entropy(
                logits,
                targets,
                self.weight,
                ignore_index=self.ignore_index,
                reduction=self.reduction,
                label_smoothing=self.label_smoothing,
            )
        )

    if TYPE_CHECKING:
        __call__ = forward


class NLLLoss(Loss):
    """Negative log-likelihood as a module, whose `backward` gives the gradient.

    Parameters
    ----------
    weight : array_like of shape (C,), or None
        Weight of each class; None for ones.
    ignore_index : int
        Targets of this value contribute neither loss nor gradient.
    reduction : {"mean", "sum", "none"}
        See `nll_loss`.

    Raises
    ------
    ValueError
        An unknown `reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.LogSoftmax())
    >>> criterion = nn.NLLLoss()
    >>> loss = criterion(model(np.ones((2, 3), np.float32)), np.array([3, 1]))
    >>> model.backward(criterion.backward()).shape
    (2, 3)
    """

    def __init__(
        self,
        weight: npt.ArrayLike | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.weight, self.ignore_index = weight, ignore_index

    def forward(self, log_probabilities: np.ndarray, targets: np.ndarray) -> float | np.ndarray:
        """Compute the loss, and keep the gradient for `backward`.

        Parameters
        ----------
        log_probabilities : ndarray of float32 or float64, of shape (N, C), (N, C, d₁, …) or (C,)
        targets : ndarray of integers from 0 to C − 1, of shape (N,), (N, d₁, …) or ()

        Returns
        -------
        float, or with "none" ndarray of the shape of `targets`

        Raises
        ------
        TypeError, ValueError, RuntimeError, IndexError
            See `nll_loss`.
        """
        return self._keep(
            nll_loss(
                log_probabilities,
                targets,
                self.weight,
                ignore_index=self.ignore_index,
                reduction=self.reduction,
            )
        )

    if TYPE_CHECKING:
        __call__ = forward


def _check_smoothing(value: float) -> None:
    if not 0 <= value <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {value}")


def _classes_last(scores: np.ndarray) -> np.ndarray:
    return scores if scores.ndim < 2 else np.moveaxis(scores, 1, -1)


def _checked_targets(
    targets: np.ndarray, shape: tuple[int, ...], ignore_index: int, name: str
) -> np.ndarray:
    """Flat int64 targets in which those to be ignored are −1."""
    if not shape:
        raise RuntimeError(f"{name}: expected at least one axis, got a scalar")
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


def _factors(
    weight: npt.ArrayLike | None, ids: np.ndarray, classes: int, dtype: np.dtype
) -> np.ndarray:
    """Weight of each target's class; 0 where it is ignored."""
    kept = (ids >= 0).astype(dtype)
    if weight is None:
        return kept
    w = np.asarray(weight, dtype)
    if w.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {w.shape}"
        )
    return np.where(ids >= 0, w[ids], dtype.type(0))


def _smooth(
    z: np.ndarray,
    ids: np.ndarray,
    weight: npt.ArrayLike | None,
    smoothing: float,
    losses: np.ndarray,
    grad: np.ndarray,
) -> None:
    """Mix losses and gradients of targets with those of all classes, in place.

    z is the logits, of shape (N, C). Of all classes: loss = Σ_c w[c] (log Σ eᶻ − z[c]).
    """
    C = z.shape[1]
    w = np.ones(C, z.dtype) if weight is None else np.asarray(weight, z.dtype)
    total, share = w.sum(), z.dtype.type(smoothing / C)
    with np.errstate(invalid="ignore", over="ignore"):  # rows with infinite logits
        shifted = z - z.max(axis=1, keepdims=True)
        e = np.exp(shifted)
        sums = e.sum(axis=1, keepdims=True)
        everything = total * np.log(sums[:, 0]) - shifted @ w
        d_everything = total * (e / sums) - w
        kept = np.flatnonzero(ids >= 0)
        losses *= z.dtype.type(1 - smoothing)
        grad *= z.dtype.type(1 - smoothing)
        losses[kept] += share * everything[kept]
        grad[kept] += share * d_everything[kept]


def _finished(
    scores: np.ndarray, losses: np.ndarray, grad: np.ndarray, factors: np.ndarray, reduction: str
) -> LossAndGradient:
    """Losses and gradients, classes last, reduced and in the shapes of the arguments."""
    count = float(factors.sum(dtype=np.float64))
    if reduction == "mean" and count:
        grad *= grad.dtype.type(1.0 / count)
    targets_shape = grad.shape[:-1]
    grad = grad if grad.ndim == 1 else np.moveaxis(grad, -1, 1)
    mark_gradient(grad, scores)
    return reduced(losses.reshape(targets_shape), count, reduction), grad
