"""The base of the recurrent layers: parameters, checks of arguments, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._kernels.cells import BY_NAME
from .buffers import pooled_empty
from .checks import (
    MAX_LAYERS,
    as_kernel_array,
    check_array,
    check_bool,
    check_dropout,
    check_int,
    check_lengths,
    check_projection,
    check_rnn_options,
    float_type,
    same_type,
)
from .dropout import draw_mask
from .packing import Packing
from .recurrence import Recurrence
from .recurrent_module import RecurrentModule
from .resets import check_resets, reset_rows
from .stack import Stack, StackCall
from .stepper import Stepper

StateGradients = tuple[np.ndarray | None, np.ndarray | None]  # of h and c


class _Pending(NamedTuple):
    """A forward call that waits for `backward`: the stack's call, shape and layout of x."""

    call: StackCall
    ndim: int
    batch_first: bool
    T: int
    B: int
    packing: Packing | None


class Recurrent(RecurrentModule):
    """Base class of `RNN`, `LSTM` and `GRU`.

    Parameters
    ----------
    cell : str
        Name of the cell in the kernels' table.
    input_size, hidden_size, num_layers : int
    bias, batch_first : bool
    dropout : float
    bidirectional : bool
    proj_size : int
    dtype : {"float32", "float64"}
    seed : int or None
        For all but `cell`, see the layers.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        dtype: npt.DTypeLike,
        seed: int | None,
    ) -> None:
        check_rnn_options(bias, batch_first, dropout, num_layers)
        check_int("input_size", input_size)
        check_int("hidden_size", hidden_size)
        check_int("num_layers", num_layers, maximum=MAX_LAYERS)
        check_projection(proj_size, hidden_size)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bool(bidirectional), proj_size
        self.cell, self.dtype = cell, float_type(dtype)
        self._suffixes = ("", "_reverse") if bidirectional else ("",)
        self._output_size = proj_size or hidden_size
        self._state_count = num_layers * len(self._suffixes)  # K
        self._make_parameters("input_size, hidden_size, num_layers", self._shapes(), seed)

    # -- parameters ------------------------------------------------------------------------

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of all parameters."""
        cell, inputs = BY_NAME[self.cell], self.input_size
        for layer in range(self.num_layers):
            for suffix in self._suffixes:
                for name, shape in cell.parameter_shapes(
                    inputs, self.hidden_size, self.bias, self.proj_size
                ):
                    yield f"{name}_l{layer}{suffix}", shape
            inputs = self._output_size * len(self._suffixes)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "dropout":
            check_dropout(value)
        if name == "batch_first":
            check_bool(name, value)
        super().__setattr__(name, value)

    def _stack(self) -> Stack:
        if self._core is None:
            cell, own = BY_NAME[self.cell], vars(self)
            self._core = Stack(
                [
                    [Recurrence.of(cell, own, f"_l{n}{suffix}") for suffix in self._suffixes]
                    for n in range(self.num_layers)
                ]
            )
        return self._core

    # -- forward ---------------------------------------------------------------------------

    def forward(
        self,
        x: np.ndarray,
        h0: np.ndarray | None = None,
        lengths: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the network over a batch of sequences, or over one.

        Calling the layer does the same. In training mode the call waits for `backward`.

        Parameters
        ----------
        x : ndarray of shape (T, B, I), or (B, T, I) with batch_first, or (T, I)
            Input, of the layer's dtype and in any memory layout. An array (T, I) is one sequence
            without a dimension for the batch.
        h0 : ndarray of shape (K, B, H), of one sequence (K, H), or None for zeros
            Initial states: layer by layer, in each the forward direction first.
        lengths : array_like of B integers from 1 to T, or None
            Steps of each sequence, in any order. What follows them is padding: it costs no time
            and has no influence on any result.
        resets : array_like of bool of shape (T, B), or (B, T) with batch_first, or (T,), or None
            True sets the state of a sequence to zero before that step: a new episode begins there.
            Neither state nor gradient passes from one side to the other, in the reverse direction,
            too.

        Returns
        -------
        output : ndarray of shape (T, B, D·H), laid out as x is
            Of the last layer, its directions side by side; zero in the padding.
        h_n : ndarray of shape (K, B, H), of one sequence (K, H)
            States after the last step of each sequence; of the reverse direction, after the first.

        Raises
        ------
        TypeError
            `x` or `h0` is not a NumPy array, `lengths` are not integers, or `resets` not bool.
        ValueError
            An array of another dtype; `x` with neither 2 nor 3 axes; `lengths` out of range or not
            B of them; `resets` of a wrong shape.
        RuntimeError
            An input of another size than I, a sequence without steps, or `h0` of a wrong shape.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> x = np.ones((5, 2, 3), np.float32)  # 5 steps of 2 sequences
        >>> y, h_n = nn.GRU(3, 4, bidirectional=True, seed=0)(x)
        >>> y.shape, h_n.shape
        ((5, 2, 8), (2, 2, 4))
        """
        y, h, _ = self._run(x, h0, None, lengths, resets)
        return y, h

    if TYPE_CHECKING:
        __call__ = forward

    def _run(
        self,
        x: np.ndarray,
        h0: np.ndarray | None,
        c0: np.ndarray | None,
        lengths: npt.ArrayLike | None,
        resets: npt.ArrayLike | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        batch_first = self.batch_first
        steps = self._time_major(x, batch_first)
        T, B = steps.shape[:2]
        if h0 is not None:
            h0 = self._initial("hx", h0, self._output_size, x.ndim, B)
        if c0 is not None:
            c0 = self._initial("cx", c0, self.hidden_size, x.ndim, B)
        packing = None
        if lengths is not None:
            checked = check_lengths(lengths, T, B)
            packing = None if (checked == T).all() else Packing(checked, T)
        marks = self._reset_rows(resets, x, packing)
        save = self.saves_for_backward()
        rows, states = self._rows(steps, packing, save), (h0, c0)
        if packing is not None or save:
            states = self._own(h0, packing), self._own(c0, packing)
        batch = len(rows), B, None if packing is None else packing.batch_sizes
        dropout, draw = (self.dropout,) * (self.num_layers - 1), None
        if self.training and self.dropout > 0.0:
            draw = partial(draw_mask, self._rng)
        y, (h_n, c_n), call = self._stack().forward(
            rows, states, batch, save, dropout, draw, marks
        )
        if save:
            nbytes = len(rows) * self._stack().row_bytes
            self._pending.push(_Pending(call, x.ndim, batch_first, T, B, packing), nbytes)
        else:
            self._pending.note_unsaved()
        if packing is not None:
            h_n, c_n = packing.unsort(h_n), None if c_n is None else packing.unsort(c_n)
        y = self._output(y, (T, B), packing, save)
        return _as_given(y, x.ndim, batch_first), *self._batched(h_n, c_n, x.ndim)

    def _reset_rows(
        self, resets: npt.ArrayLike | None, x: np.ndarray, packing: Packing | None
    ) -> list[np.ndarray] | None:
        """The rows of resets in the order of kernels, by direction."""
        if resets is None:
            return None
        marks = check_resets(resets, x.shape[:-1])
        if x.ndim == 2:
            marks = marks[:, None]
        elif self.batch_first:
            marks = marks.T
        return reset_rows(marks, packing, len(self._suffixes))

    @staticmethod
    def _own(states: np.ndarray | None, packing: Packing | None) -> np.ndarray | None:
        """A copy of states, in the order of the packed sequences."""
        if states is None:
            return None
        return states.copy() if packing is None else packing.sort(states)

    def _rows(self, steps: np.ndarray, packing: Packing | None, save: bool) -> np.ndarray:
        """The non-padding rows of x; a copy where `backward` needs them."""
        width = steps.shape[2]
        if packing is not None:
            return packing.pack(steps, pooled_empty((packing.rows, width), self.dtype))
        if not save:
            return as_kernel_array(steps, self.dtype).reshape(-1, width)
        copy = pooled_empty(steps.shape, self.dtype)
        copy[...] = steps
        return copy.reshape(-1, width)

    def _output(
        self,
        y: np.ndarray,
        steps: tuple[int, int],
        packing: Packing | None,
        saved: bool,
    ) -> np.ndarray:
        """The output (T, B, D·P) for the caller: an array of its own, zero in the padding."""
        shape = *steps, y.shape[1]
        if packing is not None:
            y = packing.unpack(y, pooled_empty(shape, self.dtype))
        elif saved:
            own = pooled_empty(shape, self.dtype)
            own[...] = y.reshape(shape)
            y = own
        return y.reshape(shape)

    @staticmethod
    def _batched(
        h: np.ndarray, c: np.ndarray | None, ndim: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """States as the caller sees them."""
        if ndim == 2:
            return h[:, 0], None if c is None else c[:, 0]
        return h, c

    def _time_major(self, x: np.ndarray, batch_first: bool) -> np.ndarray:
        check_array("x", x)
        if x.ndim == 3:
            steps = x.swapaxes(0, 1) if batch_first else x
        elif x.ndim == 2:
            steps = x[:, None]
        else:
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {x.ndim}D instead"
            )
        if not same_type(x, self.dtype):
            raise ValueError(
                f"{type(self).__name__} input dtype ({x.dtype}) does not match weight dtype "
                f"({self.dtype}). Convert input: x.astype({self.dtype.name!r})"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {x.shape[-1]}"
            )
        if len(steps) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN, got 0")
        return steps

    def _initial(self, name: str, state: Any, size: int, ndim: int, B: int) -> np.ndarray:
        """An initial state as (K, B, size), which kernels can read."""
        check_array(name, state)
        if state.shape != self._state_shape(size, ndim, B):
            raise self._wrong_shape(name, state, size, ndim, B)
        if not same_type(state, self.dtype):
            raise ValueError(
                f"{name} dtype ({state.dtype}) does not match weight dtype ({self.dtype})"
            )
        return as_kernel_array(state if ndim == 3 else state[:, None], self.dtype)

    def _wrong_shape(
        self, name: str, state: np.ndarray, size: int, ndim: int, B: int
    ) -> RuntimeError:
        if state.ndim != ndim:
            kind = "batched 3-D" if ndim == 3 else "unbatched 2-D"
            return RuntimeError(
                f"For {kind} input, {name} should also be {ndim}-D but got {state.ndim}-D"
            )
        has_c = BY_NAME[self.cell].has_c
        label = f"hidden[{int(name == 'cx')}]" if has_c else "hidden"
        expected = self._state_shape(size, ndim, B)
        return RuntimeError(f"Expected {label} size {expected}, got {state.shape} for {name}")

    def _state_shape(self, size: int, ndim: int, B: int) -> tuple[int, ...]:
        return (self._state_count, B, size) if ndim == 3 else (self._state_count, size)

    def stepper(self, batch_size: int | None = None) -> Stepper:
        """Make a copy of the network that is fed one time step after the other.

        Later changes to the weights do not affect it.

        Parameters
        ----------
        batch_size : int or None
            Number B of streams side by side. None for one stream, whose arrays have no dimension
            for the batch.

        Returns
        -------
        Stepper
            At first in the state zero.

        Raises
        ------
        RuntimeError
            The network is bidirectional: it needs the whole sequence.
        TypeError, ValueError
            `batch_size` is not an integer, or below 1.
        """
        if self.bidirectional:
            raise RuntimeError("stepper: expected one direction, got a bidirectional network")
        if batch_size is not None:
            check_int("batch_size", batch_size)
        return Stepper([layer[0] for layer in self._stack().layers], batch_size)

    # -- backward --------------------------------------------------------------------------

    def backward(
        self,
        grad_output: np.ndarray | None,
        grad_state: np.ndarray | None = None,
        needs_input_grad: bool = True,
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Back-propagate through time, through the last forward call that is still pending.

        Calls in training mode wait for `backward`, which takes the last one first. The gradients
        of the parameters are added to their ``grad``, except where ``requires_grad`` is False.

        Parameters
        ----------
        grad_output : ndarray of the shape of output, or None for zeros
            Gradient of the loss with respect to output. Values in the padding are ignored.
        grad_state : ndarray of the shape of h_n, or None for zeros
            Gradient with respect to the final states.
        needs_input_grad : bool
            Whether to compute the gradient of x.

        Returns
        -------
        grad_x : ndarray of the shape of x, or None without needs_input_grad
            Gradient with respect to x; zero in the padding.
        grad_h0 : ndarray of the shape of h_n
            Gradient with respect to the initial states.

        Raises
        ------
        RuntimeError
            No forward call is pending, or an array of a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> gru = nn.GRU(3, 4, seed=0)
        >>> y, h_n = gru(np.ones((5, 2, 3), np.float32))
        >>> dx, dh0 = gru.backward(np.ones_like(y))  # of the sum of y
        >>> dx.shape, dh0.shape, gru.weight_hh_l0.grad.shape
        ((5, 2, 3), (1, 2, 4), (12, 4))
        """
        dx, dh, _ = self._run_back(grad_output, (grad_state, None), needs_input_grad)
        return dx, dh

    def _run_back(
        self, grad_output: np.ndarray | None, grad_states: StateGradients, needs_input_grad: bool
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
        pending: _Pending = self._pending.last(grad_output, self.saves_for_backward())
        call, ndim, batch_first, T, B, packing = pending
        dy = self._output_gradient(grad_output, ndim, batch_first, T, B)
        dh = self._state_gradient("hidden", grad_states[0], self._output_size, ndim, B)
        dc = None
        if BY_NAME[self.cell].has_c:
            dc = self._state_gradient("cell", grad_states[1], self.hidden_size, ndim, B)
        self._pending.pop()
        if packing is not None:
            dh, dc = packing.sort(dh), None if dc is None else packing.sort(dc)
        rows = T * B if packing is None else packing.rows
        dx = pooled_empty((rows, self.input_size), self.dtype) if needs_input_grad else None
        self._stack().backward(call, self._gradient_rows(dy, packing), (dh, dc), dx)
        if packing is not None:
            dh, dc = packing.unsort(dh), None if dc is None else packing.unsort(dc)
        if dx is not None:
            dx = _as_given(self._output(dx, (T, B), packing, False), ndim, batch_first)
        return dx, *self._batched(dh, dc, ndim)

    def _gradient_rows(self, dy: np.ndarray | None, packing: Packing | None) -> np.ndarray | None:
        """The gradient of the output as rows that kernels can read."""
        if dy is None:
            return None
        width = dy.shape[2]
        if packing is None:
            return as_kernel_array(dy, self.dtype).reshape(-1, width)
        return packing.pack(dy, pooled_empty((packing.rows, width), self.dtype))

    def _output_gradient(
        self, grad: np.ndarray | None, ndim: int, batch_first: bool, T: int, B: int
    ) -> np.ndarray | None:
        """The gradient of the output as (T, B, D·P)."""
        if grad is None:
            return None
        width = self._output_size * len(self._suffixes)
        outer = (B, T) if batch_first else (T, B)
        expected = (T, width) if ndim == 2 else (*outer, width)
        self._check_gradient("grad_output", grad, expected)
        if ndim == 2:
            return grad[:, None]
        return grad.swapaxes(0, 1) if batch_first else grad

    def _state_gradient(
        self, name: str, grad: np.ndarray | None, size: int, ndim: int, B: int
    ) -> np.ndarray:
        """A fresh (K, B, size) array with the gradient of a final state."""
        fresh = np.zeros(self._state_shape(size, 3, B), self.dtype)
        if grad is not None:
            self._check_gradient(f"grad_state ({name})", grad, self._state_shape(size, ndim, B))
            fresh[...] = grad if ndim == 3 else grad[:, None]
        return fresh

    def _check_gradient(self, name: str, grad: Any, expected: tuple[int, ...]) -> None:
        check_array(name, grad)
        if grad.shape != expected:
            raise RuntimeError(
                f"Mismatch in shape: {name} has a shape of {grad.shape}, expected {expected}"
            )
        if not same_type(grad, self.dtype):
            raise ValueError(f"{name}: expected dtype {self.dtype}, got {grad.dtype}")

    # -- printing --------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Sizes and the options that differ from their defaults, for the repr.

        Returns
        -------
        str
        """
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        changed = [f"{k}={vars(self)[k]}" for k, v in defaults.items() if vars(self)[k] != v]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])


def _as_given(y: np.ndarray, ndim: int, batch_first: bool) -> np.ndarray:
    """A (T, B, ·) array in the layout of x."""
    if ndim == 2:
        return y[:, 0]
    return y.swapaxes(0, 1) if batch_first else y
