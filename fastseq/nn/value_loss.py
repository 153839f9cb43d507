"""Losses of values: squared, absolute, and quadratic near zero but linear beyond."""

from __future__ import annotations

import numpy as np

from .loss import ElementLoss, LossAndGradient, check_elements, check_reduction, reduce_elements


def mse_loss(x: np.ndarray, target: np.ndarray, reduction: str = "mean") -> LossAndGradient:
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
    d = _difference(x, target, reduction)
    return reduce_elements(x, d * d, 2 * d, reduction)


def l1_loss(x: np.ndarray, target: np.ndarray, reduction: str = "mean") -> LossAndGradient:
    """Absolute error: loss = |x − target|, whose gradient is 0 where both are equal.

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
        As of `mse_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> loss, grad = nn.l1_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    >>> loss, grad.tolist()
    (1.0, [0.0, -0.5])
    """
    d = _difference(x, target, reduction)
    return reduce_elements(x, np.abs(d), np.sign(d), reduction)


def huber_loss(
    x: np.ndarray, target: np.ndarray, reduction: str = "mean", delta: float = 1.0
) -> LossAndGradient:
    """Squared error up to a distance δ, linear beyond, so that outliers count less [1]_.

    With d = x − target: loss = d² / 2 where |d| ≤ δ, otherwise δ (|d| − δ / 2).

    Parameters
    ----------
    x : ndarray of float32 or float64, of any shape
    target : ndarray of the shape and dtype of x
    reduction : {"mean", "sum", "none"}
        Mean over all elements (NaN without any), sum, or one loss for each element.
    delta : float
        The distance δ, above 0.

    Returns
    -------
    loss : float, or with "none" ndarray of the shape of x
    grad : ndarray of the shape of x
        d loss / d x; with "none" that of the sum of the losses.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As of `mse_loss`; ValueError for `delta`, too.

    References
    ----------
    .. [1] P. Huber, "Robust estimation of a location parameter", Annals of Mathematical
           Statistics 35, 1964.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> loss, grad = nn.huber_loss(np.array([1.0, 9.0]), np.array([0.0, 0.0]), "sum", delta=2.0)
    >>> loss, grad.tolist()  # 1/2 + 2 · (9 − 1)
    (16.5, [1.0, 2.0])
    """
    _check_distance("delta", delta, allow_zero=False)
    d = _difference(x, target, reduction)
    limit = d.dtype.type(delta)
    inner = np.clip(d, -limit, limit)
    return reduce_elements(x, inner * (d - inner / 2), inner, reduction)


def smooth_l1_loss(
    x: np.ndarray, target: np.ndarray, reduction: str = "mean", beta: float = 1.0
) -> LossAndGradient:
    """Absolute error, rounded off where it is less than β: the Huber loss divided by β.

    With d = x − target: loss = d² / (2 β) where |d| < β, otherwise |d| − β / 2.

    Parameters
    ----------
    x : ndarray of float32 or float64, of any shape
    target : ndarray of the shape and dtype of x
    reduction : {"mean", "sum", "none"}
        Mean over all elements (NaN without any), sum, or one loss for each element.
    beta : float
        The distance β, not negative. With 0 it is the absolute error.

    Returns
    -------
    loss : float, or with "none" ndarray of the shape of x
    grad : ndarray of the shape of x
        d loss / d x; with "none" that of the sum of the losses.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As of `mse_loss`; ValueError for `beta`, too.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> loss, grad = nn.smooth_l1_loss(np.array([1.0, 9.0]), np.array([0.0, 0.0]), "sum", 2.0)
    >>> loss, grad.tolist()  # 1/4 + 9 − 1
    (8.25, [0.5, 1.0])
    """
    _check_distance("beta", beta, allow_zero=True)
    if beta == 0:
        return l1_loss(x, target, reduction)
    d = _difference(x, target, reduction)
    limit = d.dtype.type(beta)
    inner = np.clip(d, -limit, limit) / limit
    return reduce_elements(x, inner * (d - inner * limit / 2), inner, reduction)


class MSELoss(ElementLoss):
    """Squared error as a module, whose `backward` gives the gradient of x.

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
        super().__init__(reduction)

    def _loss(self, x: np.ndarray, target: np.ndarray) -> LossAndGradient:
        return mse_loss(x, target, self.reduction)


class L1Loss(ElementLoss):
    """Absolute error as a module, whose `backward` gives the gradient of x.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        See `l1_loss`.

    Raises
    ------
    ValueError
        An unknown `reduction`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> criterion = nn.L1Loss()
    >>> criterion(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.0
    >>> criterion.backward().tolist()
    [0.0, -0.5]
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def _loss(self, x: np.ndarray, target: np.ndarray) -> LossAndGradient:
        return l1_loss(x, target, self.reduction)


class HuberLoss(ElementLoss):
    """Squared error up to a distance, linear beyond, as a module; see `huber_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        See `huber_loss`.
    delta : float
        The distance, above 0.

    Raises
    ------
    ValueError
        An unknown `reduction`, or a wrong `delta`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> criterion = nn.HuberLoss(delta=2.0)
    >>> criterion(np.array([1.0, 9.0]), np.array([0.0, 0.0]))
    8.25
    >>> criterion.backward().tolist()
    [0.5, 1.0]
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        _check_distance("delta", delta, allow_zero=False)
        self.delta = delta

    def _loss(self, x: np.ndarray, target: np.ndarray) -> LossAndGradient:
        return huber_loss(x, target, self.reduction, self.delta)


class SmoothL1Loss(ElementLoss):
    """Absolute error, rounded off near zero, as a module; see `smooth_l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        See `smooth_l1_loss`.
    beta : float
        The distance below which it is quadratic, not negative.

    Raises
    ------
    ValueError
        An unknown `reduction`, or a wrong `beta`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> criterion = nn.SmoothL1Loss(beta=2.0)
    >>> criterion(np.array([1.0, 9.0]), np.array([0.0, 0.0]))
    4.125
    >>> criterion.backward().tolist()
    [0.25, 0.5]
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        _check_distance("beta", beta, allow_zero=True)
        self.beta = beta

    def _loss(self, x: np.ndarray, target: np.ndarray) -> LossAndGradient:
        return smooth_l1_loss(x, target, self.reduction, self.beta)


def _difference(x: np.ndarray, target: np.ndarray, reduction: str) -> np.ndarray:
    check_reduction(reduction)
    dtype = check_elements(x, target)
    return np.asarray(np.subtract(x, target, dtype=dtype))


def _check_distance(name: str, value: float, allow_zero: bool) -> None:
    if not (value > 0 or (allow_zero and value == 0)):
        expected = "not below 0" if allow_zero else "above 0"
        raise ValueError(f"{name}: expected a number {expected}, got {value}")
