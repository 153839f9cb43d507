"""A recurrent network that is fed one time step after the other."""

from typing import Any, NoReturn

import numpy as np

from ..backend import kernels
from .buffers import aligned_zeros
from .cells import NUMBERS, Direction
from .checks import check_floats, check_pair
from .module import Parameter


class Stepper:
    """A stack of recurrent layers, ready for one time step after the other.

    For streams whose next step is not known yet: sensors, audio, games, keys as they are typed.
    ``stepper(x)`` gives the same bits as the layer in eval mode gives for the whole sequence,
    without its cost for every call: weights are copied once, in the order in which the kernels
    read them, and the state, at first zero, stays inside. One stepper serves one caller at a
    time.

    `RNN.stepper`, `LSTM.stepper` and `GRU.stepper` make it. What becomes of the layer's weights
    later is nothing to the stepper.

    Parameters
    ----------
    layers : list of (Direction, Parameter)
        The recurrence and w_ih of each layer, all forward.
    batch_size : int or None
        B streams side by side; None for one, whose arrays have no such dimension.
    """

    def __init__(self, layers: list[tuple[Direction, Parameter]], batch_size: int | None) -> None:
        first, w_in = layers[0]
        B = 1 if batch_size is None else batch_size
        L, P, H = len(layers), first.state_size, first.hidden_size
        self.dtype, self._batched = first.dtype, batch_size is not None
        self._cell, self._kernels = NUMBERS[first.cell], kernels(first.dtype)
        self._x = np.zeros((B, w_in.shape[1]), self.dtype)
        self._shape = self._x.shape if self._batched else self._x.shape[1:]
        self._h = np.zeros((L, B, P), self.dtype)
        self._c = np.zeros((L, B, H), self.dtype) if first.cell == "lstm" else None
        self._packed = self._pack([w_ih for _, w_ih in layers] + [d.w_hh for d, _ in layers]
                                  + [d.w_hr for d, _ in layers if d.w_hr is not None])  # fmt: skip
        self._bias = np.zeros((L, first.width), self.dtype)
        for row, (direction, _) in zip(self._bias, layers, strict=True):
            bias = direction.bias()
            row[:] = 0 if bias is None else bias
        self._b_hn = None
        if first.cell == "gru" and first.b_hh is not None:
            self._b_hn = np.stack([d.b_hh.data[2 * H :] for d, _ in layers if d.b_hh is not None])

    def _pack(self, weights: list[Parameter]) -> np.ndarray:
        lengths = [self._kernels.packed_length(w.data) for w in weights]
        packed, start = aligned_zeros(sum(lengths), self.dtype), 0
        for w, length in zip(weights, lengths, strict=True):
            self._kernels.pack_weight(w.data, packed[start : start + length])
            start += length
        return packed

    def __reduce__(self) -> NoReturn:
        # Each build packs in its own way, and another machine may run another one.
        raise TypeError("Stepper: cannot be copied or pickled; make one from a copy of the layer")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Feed one time step.

        Parameters
        ----------
        x : ndarray of shape (B, I), or (I,) without `batch_size`
            Of the layer's dtype, in any memory layout.

        Returns
        -------
        ndarray of shape (B, P) or (P,), freshly allocated
            Output of the last layer.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            Not such an array.
        """
        check_floats("x", x, self.dtype, self._shape)
        self._x[...] = x
        self._kernels.stack_step(
            self._cell, self._x, self._packed, self._bias, self._b_hn, self._h, self._c
        )
        return self._view(self._h[-1]).copy()

    def _view(self, array: np.ndarray) -> np.ndarray:
        """An array (…, B, ·) as the caller sees it."""
        return array if self._batched else array[..., 0, :]

    @property
    def state(self) -> Any:
        """What the layer calls its state: a copy of h (L, B, P), of an LSTM a pair (h, c)."""
        h = self._view(self._h).copy()
        return h if self._c is None else (h, self._view(self._c).copy())

    def reset(self, state: Any = None) -> None:
        """Go on from a state as `state` gives it, or from zeros.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            Not such a state; the old one is kept.
        """
        own = [self._view(a) for a in (self._h, self._c) if a is not None]
        if state is None:
            for array in own:
                array.fill(0)
            return
        given = [state] if self._c is None else check_pair("state", state)
        for array, new in zip(own, given, strict=True):
            check_floats("state", new, self.dtype, array.shape)
        for array, new in zip(own, given, strict=True):
            array[...] = new
