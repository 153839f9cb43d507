"""Dropout [1]_: zero some values in training and scale up the rest.

References
----------
.. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
       overfitting", JMLR 15, 2014.
"""

import numpy as np

from .buffers import pooled_empty
from .checks import check_floats
from .module import Module, PendingCalls


def draw_mask(rng: np.random.Generator, p: float, mask: np.ndarray) -> np.ndarray:
    """Fill C-contiguous `mask` with 0 (probability p) or 1 / (1 − p), and return it."""
    rng.random(mask.shape, mask.dtype, out=mask)
    np.greater_equal(mask, p, out=mask)
    mask *= 0.0 if p == 1.0 else 1.0 / (1.0 - p)
    return mask


class Dropout(Module):
    """Zero each value with probability `p` in training mode; the identity in eval mode.

    Parameters
    ----------
    p : float
        In [0, 1].
    seed : int or None
        Of this layer's own random numbers.

    Raises
    ------
    ValueError
        `p` outside [0, 1].
    """

    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        if not isinstance(p, (int, float)):
            raise TypeError(f"p: expected a number, got {type(p).__name__}")
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = float(p)
        self._rng = np.random.default_rng(seed)
        self._pending = PendingCalls()

    def forward(self, x: np.ndarray) -> np.ndarray:
        """`x`, a float array of any shape, with some values dropped."""
        if not self.training:
            return x
        mask = draw_mask(self._rng, self.p, pooled_empty(x.shape, x.dtype))
        if self.saves_for_backward():
            self._pending.push(mask, mask.nbytes)
        return x * mask

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """Gradient of the input of the last forward call in training mode."""
        mask = self._pending.last()
        check_floats("grad_output", grad_output, mask.dtype, mask.shape)
        return grad_output * self._pending.pop()

    def extra_repr(self) -> str:
        return f"p={self.p}"
