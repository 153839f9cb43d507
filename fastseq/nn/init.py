"""Initial values, written into an array in place.

Each function takes an ndarray (``parameter.data``), fills it and returns it.
"""

from __future__ import annotations

import math

import numpy as np

from .generator import generator

Rng = np.random.Generator | None

__all__ = ["normal_", "orthogonal_", "uniform_", "xavier_uniform_", "zeros_"]


def uniform_(
    array: np.ndarray, low: float = 0.0, high: float = 1.0, rng: Rng = None
) -> np.ndarray:
    """Fill an array with values from the uniform distribution over [low, high).

    Parameters
    ----------
    array : ndarray of float32 or float64, of any shape
        Changed in place.
    low, high : float
        Bounds.
    rng : numpy.random.Generator or None
        Source of random numbers. None takes the generator that `fastseq.manual_seed` seeds.

    Returns
    -------
    ndarray
        `array`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> weight = nn.Linear(50, 40).weight
    >>> values = nn.init.uniform_(weight.data, -0.1, 0.1, np.random.default_rng(0))
    >>> values is weight.data, bool(-0.1 <= values.min() < values.max() < 0.1)
    (True, True)
    """
    values = generator(rng).random(array.shape, array.dtype)
    array[...] = values * array.dtype.type(high - low) + array.dtype.type(low)
    return array


def normal_(array: np.ndarray, mean: float = 0.0, std: float = 1.0, rng: Rng = None) -> np.ndarray:
    """Fill an array with values from a normal distribution.

    Parameters
    ----------
    array : ndarray of float32 or float64, of any shape
        Changed in place.
    mean, std : float
        Mean and standard deviation.
    rng : numpy.random.Generator or None
        Source of random numbers. None takes the generator that `fastseq.manual_seed` seeds.

    Returns
    -------
    ndarray
        `array`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> values = nn.init.normal_(np.empty((100, 100)), std=0.02, rng=np.random.default_rng(0))
    >>> round(float(values.std()), 3)
    0.02
    """
    values = generator(rng).standard_normal(array.shape, array.dtype)
    array[...] = values * array.dtype.type(std) + array.dtype.type(mean)
    return array


def zeros_(array: np.ndarray) -> np.ndarray:
    """Fill an array with zeros.

    Parameters
    ----------
    array : ndarray
        Changed in place.

    Returns
    -------
    ndarray
        `array`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> nn.init.zeros_(np.ones(3)).tolist()
    [0.0, 0.0, 0.0]
    """
    array.fill(0)
    return array


def xavier_uniform_(array: np.ndarray, gain: float = 1.0, rng: Rng = None) -> np.ndarray:
    """Fill a matrix so that it preserves the variance of activations and of gradients [1]_.

    Uniform in ±gain · √(6 / (rows + columns)).

    Parameters
    ----------
    array : ndarray of float32 or float64, of shape (rows, columns)
        Changed in place.
    gain : float
        Factor on the bound.
    rng : numpy.random.Generator or None
        Source of random numbers. None takes the generator that `fastseq.manual_seed` seeds.

    Returns
    -------
    ndarray
        `array`.

    Raises
    ------
    ValueError
        Not a matrix.

    References
    ----------
    .. [1] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
           networks", AISTATS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> values = nn.init.xavier_uniform_(np.empty((100, 50)), rng=np.random.default_rng(0))
    >>> round(float(np.abs(values).max()), 3)  # √(6 / 150)
    0.2
    """
    bound = gain * math.sqrt(6.0 / sum(_matrix_shape(array)))
    return uniform_(array, -bound, bound, rng)


def orthogonal_(array: np.ndarray, gain: float = 1.0, rng: Rng = None) -> np.ndarray:
    """Fill a matrix with orthonormal rows or columns, whichever are fewer, times `gain` [1]_.

    The matrix is drawn uniformly from all such matrices.

    Parameters
    ----------
    array : ndarray of float32 or float64, of shape (rows, columns)
        Changed in place.
    gain : float
        Factor on the matrix.
    rng : numpy.random.Generator or None
        Source of random numbers. None takes the generator that `fastseq.manual_seed` seeds.

    Returns
    -------
    ndarray
        `array`.

    Raises
    ------
    ValueError
        Not a matrix.

    References
    ----------
    .. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of
           learning in deep linear neural networks", ICLR 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> q = nn.init.orthogonal_(np.empty((4, 4)), rng=np.random.default_rng(0))
    >>> bool(np.allclose(q @ q.T, np.eye(4)))
    True
    """
    rows, columns = _matrix_shape(array)
    normal = generator(rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q *= np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
    array[...] = gain * (q if rows >= columns else q.T)
    return array


def _matrix_shape(array: np.ndarray) -> tuple[int, int]:
    if array.ndim != 2:
        raise ValueError(f"array: expected a matrix, got shape {array.shape}")
    return array.shape
