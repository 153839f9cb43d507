"""All layers and directions of a recurrent network, one after the other."""

import numpy as np

from .buffers import Buffers
from .cells import Direction, project, project_backward
from .checks import usable
from .dropout import draw_mask
from .module import Parameter

Layer = list[tuple[Direction, Parameter]]  # for each direction the recurrence and its w_ih


class Stack:
    """Layers and the buffers of one pass through them; one stack serves one caller at a time.

    Everything is time-major; D is the number of directions, K = L·D, and state k = l·D + d
    belongs to direction d of layer l.

    Parameters
    ----------
    layers : list of list of (Direction, Parameter)
    dropout : float
        Probability with which an output of all layers but the last is dropped.
    """

    def __init__(self, layers: list[Layer], dropout: float) -> None:
        self.layers, self.dropout = layers, dropout
        first = layers[0][0][0]
        self.dtype, self.state_size = first.dtype, first.state_size
        self.hidden_size, self.has_cells = first.hidden_size, first.cell == "lstm"
        self.directions = len(layers[0])
        self._buffers = Buffers(self.dtype)
        self.shape: tuple[int, int, int] = (0, 0, 0)  # (T, B, I) of the last forward call
        self._inputs: list[np.ndarray] = []  # of each layer, (T·B, ·)
        self._masked = False

    # -- forward ---------------------------------------------------------------------------

    def forward(
        self,
        x: np.ndarray,
        h0: np.ndarray | None,
        c0: np.ndarray | None,
        lengths: np.ndarray | None,
        rng: np.random.Generator | None,
        keep: bool,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Run all layers.

        Parameters
        ----------
        x : ndarray of shape (T, B, I), any layout
        h0, c0 : ndarray of shape (K, B, P), (K, B, H), or None for zeros
        lengths : ndarray of int64 of shape (B,), or None
        rng : numpy.random.Generator or None
            Draws what dropout drops; None drops nothing.
        keep : bool
            Keep a copy of x, so that `backward` may follow whatever becomes of the original.

        Returns
        -------
        y : ndarray of shape (T, B, D·P), zero at t ≥ lengths[b]
        h_n, c_n : ndarray of shape (K, B, P), (K, B, H); c_n is None unless an LSTM
            All freshly allocated.
        """
        T, B, size = x.shape
        self.shape = T, B, size
        count = len(self.layers) * self.directions
        h_n = np.empty((count, B, self.state_size), self.dtype)
        c_n = np.empty((count, B, self.hidden_size), self.dtype) if self.has_cells else None
        self._masked = rng is not None and self.dropout > 0.0
        self._inputs.clear()
        if B == 0:
            return self._join([], np.empty((T, 0, self._width()), self.dtype)), h_n, c_n
        rows = (self._copy(x, lengths) if keep else usable(x, self.dtype)).reshape(T * B, -1)
        for number, layer in enumerate(self.layers):
            self._inputs.append(rows)
            outputs = []
            for d, (direction, w_ih) in enumerate(layer):
                k = number * self.directions + d
                project(rows, w_ih, direction.bias(), direction.gates(T, B))
                outputs.append(
                    direction.forward(
                        None if h0 is None else h0[k], None if c0 is None else c0[k], lengths
                    )
                )
                h_n[k] = direction.h_end
                if c_n is not None:
                    c_n[k] = direction.c_end
            if layer is not self.layers[-1]:
                rows = self._between(number, outputs, rng).reshape(T * B, -1)
        if self.directions == 1:
            y = outputs[0].copy()
        else:
            y = self._join(outputs, np.empty((T, B, self._width()), self.dtype))
        if lengths is not None:
            zero_padding(y, lengths)
        if not keep:
            self._inputs.clear()
        return y, h_n, c_n

    def _width(self) -> int:
        return self.directions * self.state_size

    def _copy(self, x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        copy = self._buffers("x", *x.shape)
        np.copyto(copy, x)
        if lengths is not None:  # so that NaN in the padding cannot reach the weights' gradient
            zero_padding(copy, lengths)
        return copy

    def _join(self, outputs: list[np.ndarray], joined: np.ndarray) -> np.ndarray:
        P = self.state_size
        for d, output in enumerate(outputs):
            joined[:, :, d * P : (d + 1) * P] = output
        return joined

    def _between(
        self, number: int, outputs: list[np.ndarray], rng: np.random.Generator | None
    ) -> np.ndarray:
        """What layer `number` hands to the layer above."""
        if len(outputs) == 1 and not self._masked:
            return outputs[0]
        shape = *outputs[0].shape[:2], self._width()
        joined = self._join(outputs, self._buffers(f"y{number}", *shape))
        if self._masked and rng is not None:
            mask = self._buffers(f"mask{number}", *shape)
            joined *= draw_mask(rng, self.dropout, mask)
        return joined

    # -- backward --------------------------------------------------------------------------

    def backward(self, dy: np.ndarray | None, dh: np.ndarray, dc: np.ndarray | None) -> np.ndarray:
        """Invert the last `forward`, adding to the parameters' gradients.

        Parameters
        ----------
        dy : ndarray of shape (T, B, D·P), any layout, or None for zeros
        dh, dc : ndarray of shape (K, B, P), (K, B, H), INOUT
            d loss / d final states in, d loss / d initial states out.

        Returns
        -------
        ndarray of shape (T, B, I), freshly allocated
        """
        T, B, _ = self.shape
        dx = np.empty(self.shape, self.dtype)
        if B == 0:
            return dx
        current = self._outer(dy)
        for number in reversed(range(len(self.layers))):
            rows = self._inputs[number]
            below = (
                self._buffers(f"dx{number % 2}", *rows.shape) if number else dx.reshape(T * B, -1)
            )
            for d, (direction, w_ih) in enumerate(self.layers[number]):
                k = number * self.directions + d
                part = self._part(current, d)
                drows = direction.backward(part, dh[k], None if dc is None else dc[k])
                project_backward(drows, rows, w_ih, below, add_to_dx=d > 0)
            if number:
                current = below.reshape(T, B, -1)
                if self._masked:
                    current *= self._buffers(f"mask{number - 1}", *current.shape)
        return dx

    def _outer(self, dy: np.ndarray | None) -> np.ndarray:
        """`dy` as an array that kernels can read, and overwrite where they do."""
        T, B, _ = self.shape
        if dy is not None and self.layers[-1][0][0].w_hr is None:
            array = usable(dy, self.dtype)
            if array.flags.writeable:  # the LSTM's kernel has no form for other ones
                return array
        copy = self._buffers("dy", T, B, self._width())
        copy[...] = 0 if dy is None else dy
        return copy

    def _part(self, dy: np.ndarray, d: int) -> np.ndarray:
        """The share of direction `d` in the gradient of a layer's output, contiguous."""
        if self.directions == 1:
            return dy
        P = self.state_size
        part = self._buffers("part", *dy.shape[:2], P)
        part[...] = dy[:, :, d * P : (d + 1) * P]
        return part


def zero_padding(array: np.ndarray, lengths: np.ndarray) -> None:
    """Set array[t, b] to zero for t ≥ lengths[b]; array of shape (T, B, ·)."""
    for b, length in enumerate(lengths.tolist()):
        array[length:, b] = 0
