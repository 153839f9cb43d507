"""Dropout between the layers of a language model, in buffers that are reused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nn.buffers import Buffers
from ..nn.dropout import draw_mask

Floats = NDArray[Any]


class Dropout:
    """Sets a random share `p` of activations to zero, scales the others by 1 / (1 − p) [1]_.

    Parameters
    ----------
    p : float
    random : numpy.random.Generator
        Shared with whoever else draws from it.
    buffers : Buffers
    place : str
        Tells one dropout's buffers from another's.

    References
    ----------
    .. [1] W. Zaremba, I. Sutskever, O. Vinyals, "Recurrent neural network regularization",
           2014: between layers, never inside the recurrence.
    """

    def __init__(
        self, p: float, random: np.random.Generator, buffers: Buffers, place: str
    ) -> None:
        self.p, self.random = p, random
        self._buffers, self._place = buffers, place
        self._mask: Floats | None = None

    def forward(self, x: Floats, training: bool) -> Floats:
        """x itself, or with training and p > 0 a buffer of x's shape, which is kept as it is."""
        if not training or self.p == 0.0:
            self._mask = None
            return x
        mask = draw_mask(self.random, self.p, self._buffers(f"mask {self._place}", *x.shape))
        self._mask = mask
        return np.multiply(x, mask, out=self._buffers(f"dropped {self._place}", *x.shape))

    def backward(self, dy: Floats) -> None:
        """Turn the gradient of the last `forward`'s output into that of its input, in place."""
        if self._mask is not None:
            dy *= self._mask
