"""A recurrent network that is fed one time step after the other."""

from typing import Any, NoReturn

import numpy as np

from ..backend import kernels
from .checks import as_kernel_array, check_floats, check_pair
from .recurrence import Recurrence


class Stepper:
    """A stack of recurrent layers, ready for one time step after the other.

    For streams whose next step is not known yet: sensors, audio, games, keys as they are typed.
    ``stepper(x)`` gives the same bits as the layer in eval mode gives for the whole sequence,
    without its cost for every call: weights are copied once, in the order in which the kernels
    read them, and the state, at first zero, stays inside. One stepper serves one caller at a
    time.

    `RNN.stepper`, `LSTM.stepper` and `GRU.stepper` make it. Later changes to the weights do not
    affect the stepper.

    Parameters
    ----------
    layers : list of Recurrence
        One for each layer, all forward.
    batch_size : int or None
        B streams side by side; None for one, whose arrays have no such dimension.
    """

    def __init__(self, layers: list[Recurrence], batch_size: int | None) -> None:
        first = layers[0]
        assert first.w_ih is not None
        B = 1 if batch_size is None else batch_size
        L, P, H = len(layers), first.output_size, first.hidden_size
        self.dtype, self._batched = first.dtype, batch_size is not None
        inputs = first.w_ih.shape[1]
        self._shape = (B, inputs) if self._batched else (inputs,)
        self._h = np.zeros((L, B, P), self.dtype)
        self._c = np.zeros((L, B, H), self.dtype) if first.cell.has_c else None
        self._packed = kernels(self.dtype).PackedStack(
            first.cell.id, [layer.weights() for layer in layers]
        )

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
        self._packed.step(as_kernel_array(x, self.dtype), self._h, self._c)
        return self._view(self._h[-1]).copy()

    def _view(self, array: np.ndarray) -> np.ndarray:
        """An array (…, B, ·) as the caller sees it."""
        return array if self._batched else array[..., 0, :]

    @property
    def state(self) -> Any:
        """The state in the layer's form: a copy of h (L, B, P), of an LSTM a pair (h, c)."""
        h = self._view(self._h).copy()
        return h if self._c is None else (h, self._view(self._c).copy())

    def reset(self, state: Any = None) -> None:
        """Continue from a state in the form of `state`, or from zeros.

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
