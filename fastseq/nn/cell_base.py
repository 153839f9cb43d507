"""The base of the recurrent cells: one time step for each call, forward and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._kernels.cells import BY_NAME
from .._kernels.records import LayerCall
from .checks import (
    as_kernel_array,
    check_array,
    check_bool,
    check_floats,
    check_int,
    float_type,
    same_type,
)
from .recurrence import Recurrence
from .recurrent_module import RecurrentModule

Gradient = np.ndarray | None


class _Pending(NamedTuple):
    """A forward call that waits for `backward`; batched: whether x has two axes."""

    call: LayerCall
    batched: bool


class RecurrentCell(RecurrentModule):
    """Base class of `RNNCell`, `LSTMCell` and `GRUCell`.

    Parameters
    ----------
    cell : str
        Name of the cell in the kernels' table.
    input_size, hidden_size : int
    bias : bool
    dtype : {"float32", "float64"}
    seed : int or None
        For all but `cell`, see the cells.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        bias: bool,
        dtype: npt.DTypeLike,
        seed: int | None,
    ) -> None:
        check_int("input_size", input_size)
        check_int("hidden_size", hidden_size)
        check_bool("bias", bias)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self.cell, self.dtype = cell, float_type(dtype)
        shapes = BY_NAME[cell].parameter_shapes(input_size, hidden_size, bias)
        self._make_parameters("input_size, hidden_size", shapes, seed)

    def _recurrence(self) -> Recurrence:
        if self._core is None:
            self._core = Recurrence.of(BY_NAME[self.cell], vars(self), "")
        return self._core

    # -- forward ---------------------------------------------------------------------------

    def forward(self, x: np.ndarray, hx: np.ndarray | None = None) -> np.ndarray:
        """Compute the next state.

        Calling the cell does the same. In training mode the call waits for `backward`.

        Parameters
        ----------
        x : ndarray of shape (B, I) or (I,)
            Input of one time step, of the cell's dtype and in any memory layout. An array (I,)
            belongs to one sequence without a dimension for the batch.
        hx : ndarray of shape (B, H) or (H,), or None for zeros
            The state before the step.

        Returns
        -------
        ndarray of shape (B, H) or (H,)
            The state after the step, a fresh array.

        Raises
        ------
        TypeError
            Not a NumPy array.
        ValueError
            An array of another dtype, or with neither 1 nor 2 axes.
        RuntimeError
            An input of another size than I, or a state of a wrong shape.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> cell = nn.GRUCell(3, 4, seed=0)
        >>> h = cell(np.ones((2, 3), np.float32))
        >>> cell(np.ones((2, 3), np.float32), h).shape
        (2, 4)
        """
        return self._run(x, hx, None)[0]

    if TYPE_CHECKING:
        __call__ = forward

    def _run(self, x: Any, h0: Any, c0: Any) -> tuple[np.ndarray, np.ndarray | None]:
        save, core = self.saves_for_backward(), self._recurrence()
        rows = self._rows(x, save)
        B, H, batched = len(rows), self.hidden_size, x.ndim == 2
        h0 = self._state("hidden0", h0, B, batched, save)
        c0 = self._state("hidden1", c0, B, batched, save)
        y, h = np.empty((B, H), self.dtype), np.empty((B, H), self.dtype)
        c = np.empty((B, H), self.dtype) if core.cell.has_c else None
        call = core.forward(rows, (h0, c0), (y, h, c), None, core.save(B) if save else None)
        if save:
            numbers = B * (core.saved_width + 3 * H + self.input_size)
            self._pending.push(_Pending(call, batched), numbers * self.dtype.itemsize)
        else:
            self._pending.note_unsaved()
        if batched:
            return h, c
        return h[0], None if c is None else c[0]

    def _rows(self, x: Any, copy: bool) -> np.ndarray:
        """The input as (B, I), which kernels can read."""
        check_array("x", x)
        if x.ndim not in (1, 2):
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 1D or 2D, got {x.ndim}D instead"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {x.shape[-1]} expected {self.input_size}"
            )
        return self._readable("input", x, x.ndim == 2, copy)

    def _state(
        self, name: str, state: Any, B: int, batched: bool, copy: bool
    ) -> np.ndarray | None:
        """A state before the step as (B, H), which kernels can read."""
        if state is None:
            return None
        check_array(name, state)
        shape = (B, self.hidden_size) if batched else (self.hidden_size,)
        if state.shape != shape:
            raise self._wrong_state(name, state, B, batched)
        return self._readable(name, state, batched, copy)

    def _wrong_state(
        self, name: str, state: np.ndarray, B: int, batched: bool
    ) -> ValueError | RuntimeError:
        if state.ndim not in (1, 2):
            return ValueError(
                f"{type(self).__name__}: Expected {name} to be 1D or 2D, got {state.ndim}D instead"
            )
        if state.ndim != 1 + batched:
            kind = "batched 2-D" if batched else "unbatched 1-D"
            return RuntimeError(
                f"For {kind} input, {name} should also be {1 + batched}-D but got {state.ndim}-D"
            )
        if batched and len(state) != B:
            return RuntimeError(
                f"Input batch size {B} doesn't match {name} batch size {len(state)}"
            )
        return RuntimeError(
            f"{name} has inconsistent hidden_size: got {state.shape[-1]}, "
            f"expected {self.hidden_size}"
        )

    def _readable(self, name: str, array: np.ndarray, batched: bool, copy: bool) -> np.ndarray:
        """The array as rows that kernels can read; a copy where `backward` needs them."""
        if not same_type(array, self.dtype):
            raise ValueError(
                f"{name} dtype ({array.dtype}) does not match weight dtype ({self.dtype})"
            )
        rows = array if batched else array[None]
        if copy:
            return np.array(rows, self.dtype, order="C")
        return as_kernel_array(rows, self.dtype)

    # -- backward --------------------------------------------------------------------------

    def backward(
        self, grad_state: np.ndarray | None, needs_input_grad: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Back-propagate through the last forward call that is still pending.

        Calls in training mode wait for `backward`, which takes the last one first. The gradients
        of the parameters are added to their ``grad``, except where ``requires_grad`` is False.

        Parameters
        ----------
        grad_state : ndarray of the shape of the new state, or None for zeros
            Gradient of the loss with respect to it: what comes from its use as an output, plus
            what the backward call of the next step has returned.
        needs_input_grad : bool
            Whether to compute the gradient of x.

        Returns
        -------
        grad_x : ndarray of the shape of x, or None without needs_input_grad
            Gradient with respect to x.
        grad_hx : ndarray of the shape of the new state
            Gradient with respect to the state before the step.

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
        >>> cell = nn.GRUCell(3, 4, seed=0)
        >>> h = cell(np.ones((2, 3), np.float32))
        >>> dx, dh0 = cell.backward(np.ones_like(h))  # of the sum of h
        >>> dx.shape, dh0.shape, cell.weight_hh.grad.shape
        ((2, 3), (2, 4), (12, 4))
        """
        dx, dh, _ = self._run_back((grad_state, None), needs_input_grad)
        return dx, dh

    def _run_back(
        self, grads: tuple[Gradient, Gradient], needs_input_grad: bool
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
        core = self._recurrence()
        pending = self._pending.last(grads[0], self.saves_for_backward())
        call, batched = pending
        dh = self._gradient("grad_state (hidden)", grads[0], call.h_n.shape, batched)
        dc = None
        if core.cell.has_c:
            dc = self._gradient("grad_state (cell)", grads[1], call.h_n.shape, batched)
        self._pending.pop()
        dx = np.empty_like(call.x) if needs_input_grad else None
        core.backward(call, None, (dh, dc), dx)
        if batched:
            return dx, dh, dc
        return None if dx is None else dx[0], dh[0], None if dc is None else dc[0]

    def _gradient(
        self, name: str, grad: Gradient, shape: tuple[int, ...], batched: bool
    ) -> np.ndarray:
        """A fresh (B, H) array with the gradient of a state."""
        if grad is None:
            return np.zeros(shape, self.dtype)
        check_floats(name, grad, self.dtype, shape if batched else shape[1:])
        return np.array(grad, self.dtype, order="C").reshape(shape)

    # -- printing --------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Sizes and the options that differ from their defaults, for the repr.

        Returns
        -------
        str
        """
        defaults = {"bias": True, "nonlinearity": "tanh"}
        own = vars(self)
        changed = [f"{k}={own[k]}" for k, v in defaults.items() if own.get(k, v) != v]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])
