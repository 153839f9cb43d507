"""Initial values, written into an array in place.

Each function takes an ndarray (``parameter.data``), fills it and returns it. ``rng`` is a
`numpy.random.Generator`; None takes a fresh one.

References
----------
.. [1] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010.
.. [2] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of
       learning in deep linear neural networks", ICLR 2014.
"""

import math

import numpy as np

Rng = np.random.Generator | None


def uniform_(
    array: np.ndarray, low: float = 0.0, high: float = 1.0, rng: Rng = None
) -> np.ndarray:
    """Uniform in [low, high)."""
    values = _generator(rng).random(array.shape, array.dtype)
    array[...] = values * array.dtype.type(high - low) + array.dtype.type(low)
    return array


def normal_(array: np.ndarray, mean: float = 0.0, std: float = 1.0, rng: Rng = None) -> np.ndarray:
    """Normal with this mean and standard deviation."""
    values = _generator(rng).standard_normal(array.shape, array.dtype)
    array[...] = values * array.dtype.type(std) + array.dtype.type(mean)
    return array


def zeros_(array: np.ndarray) -> np.ndarray:
    """All zero."""
    array.fill(0)
    return array


def xavier_uniform_(array: np.ndarray, gain: float = 1.0, rng: Rng = None) -> np.ndarray:
    """Uniform in ±gain · √(6 / (rows + columns)), for a matrix [1]_."""
    bound = gain * math.sqrt(6.0 / sum(_matrix_shape(array)))
    return uniform_(array, -bound, bound, rng)


def orthogonal_(array: np.ndarray, gain: float = 1.0, rng: Rng = None) -> np.ndarray:
    """gain times a random matrix with orthonormal rows or columns, whichever are fewer [2]_."""
    rows, columns = _matrix_shape(array)
    normal = _generator(rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q *= np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
    array[...] = gain * (q if rows >= columns else q.T)
    return array


def _generator(rng: Rng) -> np.random.Generator:
    return np.random.default_rng() if rng is None else rng


def _matrix_shape(array: np.ndarray) -> tuple[int, int]:
    if array.ndim != 2:
        raise ValueError(f"array: expected a matrix, got shape {array.shape}")
    return array.shape
