"""One direction of one recurrent layer: the order of its kernels, and the buffers they fill."""

from typing import Any

import numpy as np

from ..backend import kernels
from .buffers import Buffers
from .module import Parameter

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}  # G, blocks of rows in a weight
NUMBERS = {"rnn_tanh": 0, "rnn_relu": 1, "lstm": 2, "gru": 3}  # where a kernel takes any cell


class Direction:
    """The recurrence of one layer in one direction, forward and backward through time.

    The input's share is somebody else's: `project` for dense input, a row gather for tokens.
    A step is ::

        rows = direction.gates(T, B)                  # (T·B, G·H), to be filled with
        project(x, w_ih, direction.bias(), rows)      # x @ w_ihᵀ + bias
        y = direction.forward(h0, c0, lengths)        # (T, B, P)
        drows = direction.backward(dy, dh, dc)        # (T·B, G·H), in place of rows
        project_backward(drows, x, w_ih, dx)

    All arrays that come out are views of buffers that the next step overwrites. One direction
    serves one caller at a time; callers at the same time need one each, over the same parameters.

    Parameters
    ----------
    cell : str
        A key of `GATES`.
    w_hh : Parameter of shape (G·H, P)
    b_ih, b_hh : Parameter of shape (G·H,), or both None
    w_hr : Parameter of shape (P, H) or None
        Projection, of an LSTM only; without it P = H.
    reverse : bool
        Run from the last step to the first.

    Attributes
    ----------
    h_end, c_end : ndarray of shape (B, P), (B, H)
        State after the last step of `forward`; `c_end` is None unless the cell is an LSTM.
    """

    def __init__(
        self,
        cell: str,
        w_hh: Parameter,
        b_ih: Parameter | None = None,
        b_hh: Parameter | None = None,
        w_hr: Parameter | None = None,
        reverse: bool = False,
    ) -> None:
        self.cell, self.reverse = cell, reverse
        self.w_hh, self.b_ih, self.b_hh, self.w_hr = w_hh, b_ih, b_hh, w_hr
        self.dtype = w_hh.dtype
        self.width, self.state_size = w_hh.shape
        self.hidden_size = self.width // GATES[cell]
        self._buffers = Buffers(self.dtype)
        self._size: tuple[int, int] | None = None
        self._lengths: np.ndarray | None = None
        self._row = np.zeros(self.width, self.dtype)

    # -- buffers ---------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        # Nothing but parameters is worth copying.
        parts = self.cell, self.w_hh, self.b_ih, self.b_hh, self.w_hr, self.reverse
        return type(self), parts

    def _resize(self, T: int, B: int) -> None:
        H, P = self.hidden_size, self.state_size
        first, last = slice(None, -1), slice(1, None)  # slots 0…T−1 and 1…T
        before, after = (last, first) if self.reverse else (first, last)
        start, end = (-1, 0) if self.reverse else (0, -1)
        self._gates = self._buffers("gates", T, B, self.width)
        self._rows = self._gates.reshape(T * B, self.width)
        self._h = self._buffers("h", T + 1, B, P)
        self._h_start, self.h_end = self._h[start], self._h[end]
        self._outputs = self._h[after]
        self._h_before = self._h[before].reshape(T * B, P)
        self._c = self._c_start = self.c_end = None
        if self.cell == "lstm":
            self._c = self._buffers("c", T + 1, B, H)
            self._c_start, self.c_end = self._c[start], self._c[end]
        self._m = None if self.w_hr is None else self._buffers("m", T, B, H)
        self._hn = self._buffers("hn", T, B, H) if self.cell == "gru" else None
        self._size = (T, B)

    # -- forward ---------------------------------------------------------------------------

    def gates(self, T: int, B: int) -> np.ndarray:
        """The buffer for the input's share, of shape (T·B, G·H); starts a step."""
        if self._size != (T, B):
            self._resize(T, B)
        return self._rows

    def bias(self) -> np.ndarray | None:
        """What to add to the input's share: b_ih + b_hh (of the GRU's n only b_ih), or None."""
        if self.b_ih is None or self.b_hh is None:
            return None
        if self.cell != "gru":
            return np.add(self.b_ih.data, self.b_hh.data, self._row)
        H = self.hidden_size
        self._row[:] = self.b_ih.data
        self._row[: 2 * H] += self.b_hh.data[: 2 * H]
        return self._row

    def forward(
        self,
        h0: np.ndarray | None = None,
        c0: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
    ) -> np.ndarray:
        """Run through time.

        Parameters
        ----------
        h0, c0 : ndarray of shape (B, P), (B, H), or None for zeros
        lengths : ndarray of int64 of shape (B,), or None
            At t ≥ lengths[b] row b keeps its state.

        Returns
        -------
        ndarray of shape (T, B, P), C-contiguous
            h of every step; at t ≥ lengths[b] whatever state row b is kept in.
        """
        self._lengths = lengths
        _start(self._h_start, h0)
        k, w_hh = kernels(self.dtype), self.w_hh.data
        if self.cell == "lstm":
            _start(self._c_start, c0)
            if self._m is not None and lengths is not None:
                self._m.fill(0)  # steps past the end are not written, but multiplied by 0 later
            w_hr = None if self.w_hr is None else self.w_hr.data
            k.lstm_forward(
                self._gates, w_hh, w_hr, self._h, self._c, self._m, lengths, self.reverse
            )
        elif self.cell == "gru":
            b_hn = None if self.b_hh is None else self.b_hh.data[2 * self.hidden_size :]
            k.gru_forward(self._gates, w_hh, b_hn, self._h, self._hn, lengths, self.reverse)
        else:
            relu = self.cell == "rnn_relu"
            k.rnn_forward(self._gates, w_hh, self._h, lengths, self.reverse, relu)
        return self._outputs

    # -- backward --------------------------------------------------------------------------

    def backward(
        self,
        dy: np.ndarray,
        dh: np.ndarray,
        dc: np.ndarray | None = None,
        accumulate: bool = True,
        biases: bool = True,
    ) -> np.ndarray:
        """Invert the last `forward`; may be called once for each.

        Parameters
        ----------
        dy : ndarray of shape (T, B, P), C-contiguous
            d loss / d outputs. Overwritten where there is a projection.
        dh, dc : ndarray of shape (B, P), (B, H), C-contiguous, INOUT
            d loss / d final state in, d loss / d initial state out.
        accumulate : bool
            Add to the gradients of w_hh, b_ih, b_hh and w_hr instead of overwriting them.
        biases : bool
            Else those of b_ih and b_hh are left to `bias_gradients`.

        Returns
        -------
        ndarray of shape (T·B, G·H)
            d loss / d the input's share.
        """
        k, w_hh, lengths = kernels(self.dtype), self.w_hh.data, self._lengths
        if self.cell == "lstm":
            w_hr = None if self.w_hr is None else self.w_hr.data
            k.lstm_backward(self._gates, w_hh, w_hr, self._c, dy, dh, dc, lengths, self.reverse)
        elif self.cell == "gru":
            k.gru_backward(self._gates, w_hh, self._h, self._hn, dy, dh, lengths, self.reverse)
        else:
            relu = self.cell == "rnn_relu"
            k.rnn_backward(self._gates, w_hh, self._h, dy, dh, lengths, self.reverse, relu)
        if self.cell == "gru":
            self._gru_gradients(k, accumulate)
        else:
            self._gradients(k, dy, accumulate)
        if biases:
            self.bias_gradients(self._rows, accumulate)
        return self._rows

    def _gradients(self, k: Any, dy: np.ndarray, accumulate: bool) -> None:
        # dW_hh = Σₜ dgates[t]ᵀ @ h[t−1];  dW_hr = Σₜ dh[t]ᵀ @ m[t]
        k.matmul(self._rows.T, self._h_before, self.w_hh.grad, None, accumulate)
        if self.w_hr is not None and self._m is not None:
            dh, m = dy.reshape(-1, self.state_size), self._m.reshape(-1, self.hidden_size)
            k.matmul(dh.T, m, self.w_hr.grad, None, accumulate)

    def _gru_gradients(self, k: Any, accumulate: bool) -> None:
        # As above, except that n's recurrent product stands inside the reset gate, so that its
        # gradient is dhn instead of the third block of dgates.
        H = self.hidden_size
        assert self._hn is not None
        drz, dhn = self._rows[:, : 2 * H], self._hn.reshape(-1, H)
        dw = self.w_hh.grad
        k.matmul(drz.T, self._h_before, dw[: 2 * H], None, accumulate)
        k.matmul(dhn.T, self._h_before, dw[2 * H :], None, accumulate)

    def bias_gradients(self, rows: np.ndarray, accumulate: bool = True) -> None:
        """db_ih = db_hh = Σ rows, which is Σₜ dgates[t]; b_hn stands beside dhn instead.

        Parameters
        ----------
        rows : ndarray of shape (n, G·H)
            What `backward` returned, or fewer rows with the same sum.
        accumulate : bool
            Add to the gradients instead of overwriting them.
        """
        if self.b_ih is None or self.b_hh is None:
            return
        k, row = kernels(self.dtype), self._row
        row.fill(0)
        k.sum_rows(rows, row)
        _add(self.b_ih.grad, row, accumulate)
        if self._hn is not None:
            dbn = row[2 * self.hidden_size :]
            dbn.fill(0)
            k.sum_rows(self._hn.reshape(-1, self.hidden_size), dbn)
        _add(self.b_hh.grad, row, accumulate)


def project(x: np.ndarray, w_ih: Parameter, bias: np.ndarray | None, rows: np.ndarray) -> None:
    """The input's share of the gates: rows = x @ w_ihᵀ + bias.

    Parameters
    ----------
    x : ndarray of shape (T·B, I)
    w_ih : Parameter of shape (G·H, I)
    bias : ndarray of shape (G·H,) or None
    rows : ndarray of shape (T·B, G·H), OUT
    """
    kernels(w_ih.dtype).matmul(x, w_ih.data.T, rows, bias, False)


def project_backward(
    drows: np.ndarray,
    x: np.ndarray,
    w_ih: Parameter,
    dx: np.ndarray | None,
    add_to_dx: bool = False,
    accumulate: bool = True,
) -> None:
    """Gradients of `project`: dw_ih = drowsᵀ @ x, dx = drows @ w_ih.

    Parameters
    ----------
    drows : ndarray of shape (T·B, G·H)
    x : ndarray of shape (T·B, I)
    dx : ndarray of shape (T·B, I), OUT or ACC, or None
    add_to_dx : bool
        Add to `dx` instead of overwriting it: x has fed another direction, too.
    accumulate : bool
        The same for the weight's gradient.
    """
    k = kernels(w_ih.dtype)
    k.matmul(drows.T, x, w_ih.grad, None, accumulate)
    if dx is not None:
        k.matmul(drows, w_ih.data, dx, None, add_to_dx)


def _start(slot: np.ndarray | None, state: np.ndarray | None) -> None:
    if slot is not None:
        slot[...] = 0 if state is None else state


def _add(target: np.ndarray, values: np.ndarray, accumulate: bool) -> None:
    if accumulate:
        np.add(target, values, target)
    else:
        target[...] = values
