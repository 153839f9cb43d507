"""A recurrent network that is fed one time step after the other."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from ..backend import kernels
from .checks import as_kernel_array, check_array, check_floats, check_pair
from .recurrence import Recurrence


class Stepper:
    """A recurrent network that is fed one time step after the other.

    For streams whose next step is not known yet: sensors, audio, games, keys as they are typed.
    A call costs less than one of the layer: the weights are copied once, in the order in which the
    kernels read them, and the state, at first zero, stays inside. With compiled kernels it gives
    the same bits as the layer in eval mode gives for the whole sequence. One stepper serves one
    caller at a time.

    `RNN.stepper`, `LSTM.stepper` and `GRU.stepper` make it. Later changes to the weights do not
    affect it. It cannot be copied or pickled, since each build of the kernels packs weights in its
    own way.

    Parameters
    ----------
    layers : list of Recurrence
        One for each layer, all forward.
    batch_size : int or None
        Number B of streams side by side. None for one stream, whose arrays have no dimension for
        the batch.

    Attributes
    ----------
    dtype : numpy.dtype
        Of input, output and state.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> lstm = nn.LSTM(3, 4, seed=0).eval()
    >>> stream = lstm.stepper()
    >>> x = np.ones((5, 3), np.float32)
    >>> outputs = [stream(step) for step in x]
    >>> np.allclose(outputs, lstm(x)[0], atol=1e-6)
    True
    """

    def __init__(self, layers: list[Recurrence], batch_size: int | None) -> None:
        first = layers[0]
        assert first.w_ih is not None
        B = 1 if batch_size is None else batch_size
        L, P, H = len(layers), first.output_size, first.hidden_size
        self.dtype, self._batched = first.dtype, batch_size is not None
        inputs = first.w_ih.data.shape[1]
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
        x : ndarray of shape (B, I), or (I,) without batch_size
            Input, of the layer's dtype and in any memory layout.

        Returns
        -------
        ndarray of shape (B, P), or (P,) without batch_size
            Output of the last layer, a fresh array. P is the hidden size, or an LSTM's
            `proj_size`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            Not a NumPy array; of another dtype; of another shape.
        """
        check_floats("x", x, self.dtype, self._shape)
        self._packed.step(as_kernel_array(x, self.dtype), self._h, self._c)
        return self._view(self._h[-1]).copy()

    def _view(self, array: np.ndarray) -> np.ndarray:
        """An array (…, B, ·) as the caller sees it."""
        return array if self._batched else array[..., 0, :]

    @property
    def state(self) -> Any:
        """A copy of the state, in the layer's form.

        An ndarray h of shape (L, B, P); of an LSTM a pair (h, c), with c of shape (L, B, H).
        Without `batch_size` the shapes have no B. The layer takes it as its initial state, `reset`
        takes it, too.

        Examples
        --------
        >>> from fastseq import nn
        >>> h, c = nn.LSTM(3, 4, num_layers=2).stepper(batch_size=5).state
        >>> h.shape, c.shape
        ((2, 5, 4), (2, 5, 4))
        """
        h = self._view(self._h).copy()
        return h if self._c is None else (h, self._view(self._c).copy())

    def reset(self, state: Any = None, rows: np.ndarray | None = None) -> None:
        """Continue from another state.

        Parameters
        ----------
        state : ndarray, or for an LSTM a pair of ndarray, or None for zeros
            In the form of `state`; it is copied.
        rows : ndarray of bool of shape (B,), or None for all
            The streams that get their part of `state`; the others go on. Only with `batch_size`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            Not an array or not a pair; another dtype; another shape. The old state is kept.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> stream = nn.GRU(3, 4, seed=0).stepper(batch_size=2)
        >>> y = stream(np.ones((2, 3), np.float32))
        >>> stream.reset(rows=np.array([False, True]))  # the second one has ended
        >>> stream.state.any(axis=(0, 2)).tolist()
        [True, False]
        """
        own = [self._view(a) for a in (self._h, self._c) if a is not None]
        which = self._which(rows)
        if state is None:
            for array in own:
                array[which] = 0
            return
        given = [state] if self._c is None else check_pair("state", state)
        for array, new in zip(own, given, strict=True):
            check_floats("state", new, self.dtype, array.shape)
        for array, new in zip(own, given, strict=True):
            array[which] = new[which]

    def _which(self, rows: np.ndarray | None) -> Any:
        """The part of a state that belongs to some streams, as an index."""
        if rows is None:
            return ...
        check_array("rows", rows)
        if not self._batched:
            raise RuntimeError("rows: expected None, since the stepper has no batch_size")
        if rows.dtype.kind != "b":
            raise TypeError(f"rows: expected bool, got dtype {rows.dtype}")
        if rows.shape != self._h.shape[1:2]:
            raise RuntimeError(f"rows: expected shape {self._h.shape[1:2]}, got {rows.shape}")
        return np.s_[:, rows]
