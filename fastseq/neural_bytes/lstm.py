"""The LSTM of the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..backend import kernels
from ._gradients import Columns, Gradients
from ._matrix import Matrix, state_row
from ._model import DTYPE, Cache, Model, as_column, check_range, window
from ._random import uniforms

BLOCKS = "ifco"  # gates in the order of the kernels, whose g (the candidate) is called c here
Column = list[list[float]]  # a state of shape (H, 1)


@dataclass(frozen=True)
class LSTMCache(Cache):
    """Intermediate results that `LSTM.forward` passes to `LSTM.backward`.

    Attributes
    ----------
    gates : ndarray of shape (T, 1, 4H)
        Activated gates in the order of `BLOCKS`.
    cells : ndarray of shape (T+1, 1, H)
    """

    gates: np.ndarray
    cells: np.ndarray


class LSTM(Model):
    """Long short-term memory with a forget gate and a softmax layer; inputs are one-hot.

    ::

        f, i, o = σ(U? x[t] + W? h[t−1] + b?)      for ? = f, i, o
        C[t] = f · C[t−1] + i · tanh(Uc x[t] + Wc h[t−1] + bc)
        h[t] = o · tanh(C[t]),  p[t] = softmax(V h[t] + c)

    Initial weights come from Python's `random`, row by row, Wf, Wi, Wo, Wc, then Uf, Ui, Uo,
    Uc, then V: uniform in ±0.05. Biases are zero.

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
    Wf, Uf, bf, Wi, Ui, bi, Wo, Uo, bo, Wc, Uc, bc : ndarray of shape (H, H), (H, V), (H, 1), …
        Parameters of the gates.
    V, c : ndarray of shape (V, H), (V, 1)
        Parameters of the softmax layer.
    memory : list of ndarray
        Adagrad's sums of squared gradients, in this order.
    """

    names = (
        "Wf", "Uf", "bf", "Wi", "Ui", "bi", "Wo", "Uo", "bo", "Wc", "Uc", "bc", "V", "c",
    )  # fmt: skip

    Wf, Wi, Wo, Wc = Matrix(), Matrix(), Matrix(), Matrix()
    Uf, Ui, Uo, Uc = Matrix(), Matrix(), Matrix(), Matrix()
    bf, bi, bo, bc = Matrix(), Matrix(), Matrix(), Matrix()

    def __init__(
        self,
        vocab_size: int = 256,
        hidden_size: int = 128,
        seq_length: int = 25,
        learning_rate: float = 0.1,
        clip_value: float = 5.0,
    ) -> None:
        super().__init__(vocab_size, hidden_size, seq_length, learning_rate, clip_value)
        for name in ("Wf", "Wi", "Wo", "Wc", "Uf", "Ui", "Uo", "Uc", "V"):
            rows, columns = self.shape_of(name)
            weights = (uniforms(rows * columns) - 0.5) * 0.1
            setattr(self, name, weights.reshape(rows, columns))
        for name in ("bf", "bi", "bo", "bc", "c"):
            setattr(self, name, np.zeros(self.shape_of(name)))
        self.memory = [np.zeros_like(getattr(self, name)) for name in self.names]

    def _memory(self) -> list[np.ndarray]:
        return self.memory

    def forward(
        self,
        inputs: Sequence[int],
        targets: Sequence[int],
        hprev: ArrayLike,
        cprev: ArrayLike | None = None,
    ) -> tuple[float, LSTMCache, Column, Column]:
        """Loss of a window.

        Parameters
        ----------
        inputs, targets : list of int
        hprev, cprev : H×1, nested lists or ndarray
            `cprev` may be None for zeros.

        Returns
        -------
        loss : float
            Σ −log(p[target] + 1e-12), in nats.
        cache : LSTMCache
            For `backward`.
        h_last, c_last : H×1, nested lists

        Raises
        ------
        IndexError
            An input or target is out of range.
        """
        ids, goals = window(inputs, targets)
        check_range("inputs", ids, self.vocab_size)
        check_range("targets", goals, self.vocab_size)
        H = self.hidden_size
        start = state_row("hprev", hprev, H), state_row("cprev", cprev, H)
        gates, h, cells = self._run(ids, self._recurrent(), *start)
        loss, dlogits = self._loss(h[1:, 0], goals)
        cache = LSTMCache(ids, h, dlogits, gates, cells)
        return loss, cache, as_column(h[-1]), as_column(cells[-1])

    def _recurrent(self) -> np.ndarray:
        """Recurrent weights of all gates, of shape (4H, H)."""
        return np.concatenate([getattr(self, f"W{gate}") for gate in BLOCKS])

    def _run(
        self, ids: np.ndarray, w_hh: np.ndarray, h_start: np.ndarray, c_start: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Activated gates (T, 1, 4H), and h and C (T+1, 1, H) including the initial states."""
        k, T, H = kernels(DTYPE), len(ids), self.hidden_size
        gates, share = np.empty((T, 1, 4 * H)), np.empty((T, H))
        for block, gate in enumerate(BLOCKS):
            table, bias = getattr(self, f"U{gate}").T, getattr(self, f"b{gate}").ravel()
            k.gather_rows(table, ids, bias, share)
            gates[:, 0, block * H : (block + 1) * H] = share
        h, cells = np.empty((T + 1, 1, H)), np.empty((T + 1, 1, H))
        h[0], cells[0] = h_start, c_start
        k.lstm_forward(gates, w_hh, None, h, cells, None, None, False)
        return gates, h, cells

    def backward(self, cache: LSTMCache) -> Gradients:
        """Gradients of all parameters in the order of `memory`, clipped to ±clip_value."""
        k, h = kernels(DTYPE), cache.h
        dh, dV, dc = self._head_backward(cache)
        dgates, w_hh = cache.gates.copy(), self._recurrent()
        dh_end, dc_end = np.zeros_like(h[0]), np.zeros_like(h[0])
        k.lstm_backward(dgates, w_hh, None, cache.cells, dh, dh_end, dc_end, None, False)
        grads: dict[str, np.ndarray | Columns] = {"V": dV, "c": dc}
        for block, gate in enumerate(BLOCKS):
            first, last = block * self.hidden_size, (block + 1) * self.hidden_size
            drows = np.ascontiguousarray(dgates[:, 0, first:last])
            dW = np.empty_like(self.Wf)
            k.matmul(drows.T, h[:-1, 0], dW, None, False)  # dW = Σₜ dgates[t]ᵀ @ h[t−1]
            grads[f"W{gate}"] = self._clipped(dW)
            grads[f"U{gate}"] = self._table_gradient(cache.ids, drows)
            grads[f"b{gate}"] = self._bias_gradient(drows)
        return Gradients([grads[name] for name in self.names])

    def sample(
        self, seed_ix: int, n: int, h: ArrayLike | None = None, c: ArrayLike | None = None
    ) -> list[int]:
        """Draw n tokens from the state h, c, after `seed_ix` as the first input.

        Each token consumes one ``random.random()``: it is the first index whose cumulative
        probability exceeds that number (0 if none does).

        Raises
        ------
        IndexError
            `seed_ix` is out of range.
        """
        w_hh = self._recurrent()
        state = state_row("h", h, self.hidden_size), state_row("c", c, self.hidden_size)

        def step(ids: np.ndarray) -> np.ndarray:
            nonlocal state
            _, hs, cells = self._run(ids, w_hh, *state)
            state = hs[-1], cells[-1]
            return state[0][0]

        return self._sample(seed_ix, n, step)
