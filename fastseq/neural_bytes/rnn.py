"""The RNN of the original."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..backend import kernels
from ._gradients import Gradients
from ._matrix import Matrix, state_row
from ._model import DTYPE, Cache, Model, as_column, window
from ._random import uniforms


class RNN(Model):
    """h[t] = tanh(U x[t] + W h[t−1] + b), p[t] = softmax(V h[t] + c); x[t] is one-hot.

    Initial weights come from Python's `random`, row by row, U, then W, then V: uniform in
    ±√(1/vocab_size) (U) and ±√(1/hidden_size) (W, V). Biases are zero.

    Parameters
    ----------
    vocab_size, hidden_size : int
    seq_length : int
        Stored for compatibility; `forward` takes windows of any length.
    learning_rate : float
    clip_value : float
        Bound on every element of a gradient.

    Attributes
    ----------
    U, W, V, b, c : ndarray of shape (H, V), (H, H), (V, H), (H, 1), (V, 1)
        Parameters.
    mU, mW, mV, mb, mc : ndarray
        Adagrad's sums of squared gradients.
    """

    names = ("U", "W", "V", "b", "c")

    U, W, b = Matrix(), Matrix(), Matrix()
    mU, mW, mV, mb, mc = Matrix(), Matrix(), Matrix(), Matrix(), Matrix()

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int = 128,
        seq_length: int = 25,
        learning_rate: float = 0.1,
        clip_value: float = 5.0,
    ) -> None:
        super().__init__(vocab_size, hidden_size, seq_length, learning_rate, clip_value)
        for name, fan_in in (("U", vocab_size), ("W", hidden_size), ("V", hidden_size)):
            rows, columns = self.shape_of(name)
            weights = (uniforms(rows * columns) - 0.5) * 2 * math.sqrt(1 / fan_in)
            setattr(self, name, weights.reshape(rows, columns))
        self.b, self.c = np.zeros(self.shape_of("b")), np.zeros(self.shape_of("c"))
        for name in self.names:
            setattr(self, f"m{name}", np.zeros(self.shape_of(name)))

    def _memory(self) -> list[np.ndarray]:
        return [getattr(self, f"m{name}") for name in self.names]

    def forward(
        self, inputs: Sequence[int], targets: Sequence[int], hprev: ArrayLike
    ) -> tuple[float, Cache, list[list[float]]]:
        """Loss of a window.

        Parameters
        ----------
        inputs, targets : list of int
            An input out of range is a zero vector. A target out of range contributes neither
            loss nor gradient.
        hprev : H×1, nested lists or ndarray

        Returns
        -------
        loss : float
            Σ −log(p[target] + 1e-12), in nats.
        cache : Cache
            For `backward`.
        h_last : H×1, nested lists
        """
        ids, goals = window(inputs, targets)
        h = self._run(ids, state_row("hprev", hprev, self.hidden_size))
        loss, dlogits = self._loss(h[1:, 0], np.where(self._known(goals), goals, -1))
        return loss, Cache(ids, h, dlogits), as_column(h[-1])

    def _run(self, ids: np.ndarray, start: np.ndarray) -> np.ndarray:
        """States of shape (T+1, 1, H), beginning with `start`."""
        k, T, H = kernels(DTYPE), len(ids), self.hidden_size
        gates, h = np.empty((T, 1, H)), np.empty((T + 1, 1, H))
        h[0] = start
        known = self._known(ids)
        k.gather_rows(self.U.T, np.where(known, ids, 0), self.b.ravel(), gates[:, 0])
        gates[~known] = self.b.ravel()
        k.rnn_forward(gates, self.W, h, None, False, False)
        return h

    def backward(self, cache: Cache) -> Gradients:
        """Gradients of U, W, V, b, c, each element clipped to ±clip_value."""
        k, h = kernels(DTYPE), cache.h
        dh, dV, dc = self._head_backward(cache)
        dgates, dW = np.empty_like(dh), np.empty_like(self.W)
        k.rnn_backward(dgates, self.W, h, dh, np.zeros_like(h[0]), None, False, False)
        drows, known = dgates[:, 0], self._known(cache.ids)
        dU = self._table_gradient(cache.ids[known], drows[known])
        k.matmul(drows.T, h[:-1, 0], dW, None, False)  # dW = Σₜ dgates[t]ᵀ @ h[t−1]
        return Gradients([dU, self._clipped(dW), dV, self._bias_gradient(drows), dc])

    def sample(self, seed_ix: int, n: int, h: ArrayLike | None = None) -> list[int]:
        """Draw n tokens from the state h, after `seed_ix` as the first input.

        Each token consumes one ``random.random()``: it is the first index whose cumulative
        probability exceeds that number (0 if none does).

        Raises
        ------
        IndexError
            `seed_ix` is out of range.
        """
        state = state_row("h", h, self.hidden_size)

        def step(ids: np.ndarray) -> np.ndarray:
            nonlocal state
            state = self._run(ids, state)[-1]
            return state[0]

        return self._sample(seed_ix, n, step)
