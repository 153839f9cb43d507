"""The RNN of the original."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .._kernels.records import LayerCall
from ..backend import kernels
from ._gradients import Gradients
from ._matrix import Matrix, state_row
from ._model import DTYPE, Cache, Model, as_column, window
from ._random import uniforms
from ._recurrence import run, run_back


class RNN(Model):
    """Elman network [1]_ with a softmax layer; inputs are one-hot.

    ::

        h[t] = tanh(U x[t] + W h[t−1] + b),  p[t] = softmax(V h[t] + c)

    Initial weights come from Python's `random`, row by row, U, then W, then V: uniform in
    ±√(1/vocab_size) (U) and ±√(1/hidden_size) (W, V). Biases are zero.

    Parameters
    ----------
    vocab_size : int
        Number V of tokens.
    hidden_size : int
        Number H of units.
    seq_length : int
        Stored for compatibility; `forward` takes windows of any length.
    learning_rate : float
        Of Adagrad.
    clip_value : float
        Bound on every element of a gradient.

    Attributes
    ----------
    U, W, V, b, c : ndarray of shape (H, V), (H, H), (V, H), (H, 1), (V, 1), float64
        Parameters.
    mU, mW, mV, mb, mc : ndarray of the same shapes
        Adagrad's sums of squared gradients.

    Raises
    ------
    TypeError, ValueError
        A size that is not an integer, or below 1; another option that is not a number, or a
        `clip_value` below 0.

    References
    ----------
    .. [1] J. Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Examples
    --------
    >>> import random
    >>> from fastseq.neural_bytes import RNN
    >>> random.seed(1)
    >>> model = RNN(vocab_size=4, hidden_size=8)
    >>> h = [[0.0] for _ in range(8)]
    >>> for _ in range(200):
    ...     loss, cache, h_last = model.forward([0, 1, 2], [1, 2, 3], h)
    ...     model.update(model.backward(cache))
    >>> loss < 1, model.sample(0, 3, h)
    (True, [1, 2, 3])
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
        """Compute the loss of a window.

        Parameters
        ----------
        inputs : list of int
            Tokens to read. One that is out of range is a zero vector.
        targets : list of int
            Token that follows each of them. One that is out of range contributes neither loss nor
            gradient.
        hprev : nested lists or ndarray of shape (H, 1)
            State before the window.

        Returns
        -------
        loss : float
            Σ −log(p[target] + 1e-12), in nats.
        cache : Cache
            For `backward`.
        h_last : nested lists of shape (H, 1)
            State after the window.

        Raises
        ------
        TypeError, ValueError
            Not integers, or not as many targets as inputs; a state of another shape.
        """
        ids, goals = window(inputs, targets)
        call = self._run(ids, state_row("hprev", hprev, self.hidden_size))
        loss, dlogits = self._loss(call.y, np.where(self._known(goals), goals, -1))
        return loss, Cache(ids, call, dlogits), as_column(call.h_n)

    def _run(self, ids: np.ndarray, start: np.ndarray) -> LayerCall:
        """The states of all steps."""
        gates, known = np.empty((len(ids), self.hidden_size)), self._known(ids)
        kernels(DTYPE).gather_rows(self.U.T, np.where(known, ids, 0), self.b.ravel(), gates)
        gates[~known] = self.b.ravel()
        return run("rnn_tanh", gates, self.W, start)

    def backward(self, cache: Cache) -> Gradients:
        """Compute the gradients of a window's loss, each element clipped to ±clip_value.

        Parameters
        ----------
        cache : Cache
            From `forward`; it stays as it is.

        Returns
        -------
        Gradients
            A sequence of arrays, for U, W, V, b, c.
        """
        dh, dV, dc = self._head_backward(cache)
        drows, dW = run_back(cache.call, dh)
        known = self._known(cache.ids)
        dU = self._table_gradient(cache.ids[known], drows[known])
        return Gradients([dU, self._clipped(dW), dV, self._bias_gradient(drows), dc])

    def sample(self, seed_ix: int, n: int, h: ArrayLike | None = None) -> list[int]:
        """Draw tokens.

        Each token consumes one ``random.random()``: it is the first index whose cumulative
        probability exceeds that number (0 if none does).

        Parameters
        ----------
        seed_ix : int
            The first input, which is not returned.
        n : int
            Number of tokens.
        h : nested lists or ndarray of shape (H, 1), or None for zeros
            State before the first input.

        Returns
        -------
        list of int
            The tokens.

        Raises
        ------
        IndexError
            `seed_ix` is out of range.
        """
        state = state_row("h", h, self.hidden_size)

        def step(ids: np.ndarray) -> np.ndarray:
            nonlocal state
            state = self._run(ids, state).h_n
            return state[0]

        return self._sample(seed_ix, n, step)
