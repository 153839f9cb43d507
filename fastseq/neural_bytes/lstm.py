"""The LSTM of the original."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .._kernels.records import LayerCall
from ..backend import kernels
from ._gradients import Columns, Gradients
from ._matrix import Matrix, state_row
from ._model import DTYPE, Cache, Model, as_column, check_range, window
from ._random import uniforms
from ._recurrence import run, run_back

BLOCKS = "ifco"  # gates in the order of the kernels, whose g (the candidate) is called c here
Column = list[list[float]]  # a state of shape (H, 1)


class LSTM(Model):
    """Long short-term memory [1]_ with a forget gate [2]_ and a softmax layer; inputs are one-hot.

    ::

        f, i, o = σ(U? x[t] + W? h[t−1] + b?)      for ? = f, i, o
        C[t] = f · C[t−1] + i · tanh(Uc x[t] + Wc h[t−1] + bc)
        h[t] = o · tanh(C[t]),  p[t] = softmax(V h[t] + c)

    Initial weights come from Python's `random`, row by row, Wf, Wi, Wo, Wc, then Uf, Ui, Uo,
    Uc, then V: uniform in ±0.05. Biases are zero.

    Parameters
    ----------
    vocab_size : int
        Number V of tokens.
    hidden_size : int
        Number H of cells.
    seq_length : int
        Stored for compatibility; `forward` takes windows of any length.
    learning_rate : float
        Of Adagrad.
    clip_value : float
        Bound on every element of a gradient.

    Attributes
    ----------
    Wf, Uf, bf, Wi, Ui, bi, Wo, Uo, bo, Wc, Uc, bc : ndarray of shape (H, H), (H, V), (H, 1), …
        Parameters of the gates, float64.
    V, c : ndarray of shape (V, H), (V, 1)
        Parameters of the softmax layer.
    memory : list of ndarray
        Adagrad's sums of squared gradients, in this order.

    Raises
    ------
    TypeError, ValueError
        A size that is not an integer, or below 1; another option that is not a number, or a
        `clip_value` below 0.

    References
    ----------
    .. [1] S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.
    .. [2] F. Gers, J. Schmidhuber, F. Cummins, "Learning to forget: continual prediction with
           LSTM", Neural Computation 12, 2000.

    Examples
    --------
    >>> import random
    >>> from fastseq.neural_bytes import LSTM
    >>> random.seed(1)
    >>> model = LSTM(vocab_size=4, hidden_size=8)
    >>> zeros = [[0.0] for _ in range(8)]
    >>> for _ in range(200):
    ...     loss, cache, h_last, c_last = model.forward([0, 1, 2], [1, 2, 3], zeros, zeros)
    ...     model.update(model.backward(cache))
    >>> loss < 1, model.sample(0, 3)
    (True, [1, 2, 3])
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
    ) -> tuple[float, Cache, Column, Column]:
        """Compute the loss of a window.

        Parameters
        ----------
        inputs : list of int
            Tokens to read.
        targets : list of int
            Token that follows each of them.
        hprev : nested lists or ndarray of shape (H, 1)
            State h before the window.
        cprev : nested lists or ndarray of shape (H, 1), or None for zeros
            State C before the window.

        Returns
        -------
        loss : float
            Σ −log(p[target] + 1e-12), in nats.
        cache : Cache
            For `backward`.
        h_last : nested lists of shape (H, 1)
            State h after the window.
        c_last : nested lists of shape (H, 1)
            State C after the window.

        Raises
        ------
        IndexError
            An input or target is out of range.
        TypeError, ValueError
            Not integers, or not as many targets as inputs; a state of another shape.
        """
        ids, goals = window(inputs, targets)
        check_range("inputs", ids, self.vocab_size)
        check_range("targets", goals, self.vocab_size)
        H = self.hidden_size
        start = state_row("hprev", hprev, H), state_row("cprev", cprev, H)
        call = self._run(ids, self._recurrent(), *start)
        loss, dlogits = self._loss(call.y, goals)
        assert call.c_n is not None
        return loss, Cache(ids, call, dlogits), as_column(call.h_n), as_column(call.c_n)

    def _recurrent(self) -> np.ndarray:
        """Recurrent weights of all gates, of shape (4H, H)."""
        return np.concatenate([getattr(self, f"W{gate}") for gate in BLOCKS])

    def _run(
        self, ids: np.ndarray, w_hh: np.ndarray, h_start: np.ndarray, c_start: np.ndarray
    ) -> LayerCall:
        """The states of all steps."""
        k, T, H = kernels(DTYPE), len(ids), self.hidden_size
        gates, block_rows = np.empty((T, 4 * H)), np.empty((T, H))
        for block, gate in enumerate(BLOCKS):
            table, bias = getattr(self, f"U{gate}").T, getattr(self, f"b{gate}").ravel()
            k.gather_rows(table, ids, bias, block_rows)
            gates[:, block * H : (block + 1) * H] = block_rows
        return run("lstm", gates, w_hh, h_start, c_start)

    def backward(self, cache: Cache) -> Gradients:
        """Compute the gradients of a window's loss, each element clipped to ±clip_value.

        Parameters
        ----------
        cache : Cache
            From `forward`; it stays as it is.

        Returns
        -------
        Gradients
            A sequence of arrays, in the order of `memory`.
        """
        dh, dV, dc = self._head_backward(cache)
        dgates, dw_hh = run_back(cache.call, dh)
        grads: dict[str, np.ndarray | Columns] = {"V": dV, "c": dc}
        for block, gate in enumerate(BLOCKS):
            first, last = block * self.hidden_size, (block + 1) * self.hidden_size
            drows = np.ascontiguousarray(dgates[:, first:last])
            grads[f"W{gate}"] = self._clipped(dw_hh[first:last])
            grads[f"U{gate}"] = self._table_gradient(cache.ids, drows)
            grads[f"b{gate}"] = self._bias_gradient(drows)
        return Gradients([grads[name] for name in self.names])

    def sample(
        self, seed_ix: int, n: int, h: ArrayLike | None = None, c: ArrayLike | None = None
    ) -> list[int]:
        """Draw tokens.

        Each token consumes one ``random.random()``: it is the first index whose cumulative
        probability exceeds that number (0 if none does).

        Parameters
        ----------
        seed_ix : int
            The first input, which is not returned.
        n : int
            Number of tokens.
        h, c : nested lists or ndarray of shape (H, 1), or None for zeros
            States before the first input.

        Returns
        -------
        list of int
            The tokens.

        Raises
        ------
        IndexError
            `seed_ix` is out of range.
        """
        w_hh = self._recurrent()
        state = state_row("h", h, self.hidden_size), state_row("c", c, self.hidden_size)

        def step(ids: np.ndarray) -> np.ndarray:
            nonlocal state
            call = self._run(ids, w_hh, *state)
            assert call.c_n is not None
            state = call.h_n, call.c_n
            return call.h_n[0]

        return self._sample(seed_ix, n, step)
