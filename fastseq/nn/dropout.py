"""Dropout [1]_: zero some values in training and scale up the rest.

References
----------
.. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
       overfitting", JMLR 15, 2014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .buffers import pooled_empty
from .checks import check_floats
from .generator import generator, own_generator
from .module import Module, PendingCalls


def draw_mask(rng: np.random.Generator | None, p: float, mask: np.ndarray) -> np.ndarray:
    """Fill C-contiguous `mask` with 0 (probability p) or 1 / (1 − p), and return it."""
    generator(rng).random(mask.shape, mask.dtype, out=mask)
    np.greater_equal(mask, p, out=mask)
    mask *= 0.0 if p == 1.0 else 1.0 / (1.0 - p)
    return mask


class Dropout(Module):
    """Drop each value with probability `p` in training, and scale up the rest [1]_.

    y = x · m / (1 − p), where each element of m is 0 with probability `p`, else 1. In eval mode y
    is x itself.

    Parameters
    ----------
    p : float
        Probability, 0 to 1. With 1 everything is dropped.
    seed : int or None
        Seed of this layer's own random numbers. None draws from the generator that
        `fastseq.manual_seed` seeds.

    Attributes
    ----------
    p : float

    Raises
    ------
    TypeError, ValueError
        `p` is not a number, or outside of [0, 1].

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
           overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> dropout = nn.Dropout(0.5, seed=0)
    >>> x = np.ones(1000, np.float32)
    >>> sorted(set(dropout(x).tolist()))
    [0.0, 2.0]
    >>> dropout.eval()(x) is x
    True
    """

    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        if not isinstance(p, (int, float)):
            raise TypeError(f"p: expected a number, got {type(p).__name__}")
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = float(p)
        self._rng = own_generator(seed)
        self._pending = PendingCalls()

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Drop values, in training mode.

        Parameters
        ----------
        x : ndarray of float32 or float64, of any shape

        Returns
        -------
        ndarray of the shape of x
            In eval mode `x` itself, not a copy.
        """
        if not self.training:
            self._pending.note_unsaved()
            return x
        mask = draw_mask(self._rng, self.p, pooled_empty(x.shape, x.dtype))
        y = x * mask
        if self.saves_for_backward():
            self._pending.push(mask, mask.nbytes, y)
        else:
            self._pending.note_unsaved(y)
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """Return the gradient of the input of the last forward call that is still pending.

        Parameters
        ----------
        grad_output : ndarray of the shape and dtype of the output

        Returns
        -------
        ndarray of the same shape

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending, or a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.
        """
        mask = self._pending.last(grad_output, self.saves_for_backward())
        check_floats("grad_output", grad_output, mask.dtype, mask.shape)
        return grad_output * self._pending.pop()

    def extra_repr(self) -> str:
        """The probability, for the repr.

        Returns
        -------
        str
        """
        return f"p={self.p}"

    if TYPE_CHECKING:
        __call__ = forward
