"""All layers and directions of a recurrent network, one after the other."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from .._kernels.records import LayerCall, Saved, Weights
from .buffers import pooled_empty
from .recurrence import Recurrence

# Fills an array with factors of dropout of this probability, and returns it.
DrawMask = Callable[[float, np.ndarray], np.ndarray]
# y, h_n, c_n of all layers.
Outputs = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class InputProjection(Protocol):
    """A source of the first layer's input projection other than a dense matrix: tokens."""

    def forward(self, layer: Recurrence, out: np.ndarray) -> None:
        """Fill `out`, of shape (N, G·H), with x @ w_ihᵀ + bias."""

    def backward(self, layer: Recurrence, saved: Saved, accumulate: bool) -> None:
        """Gradients of w_ih, b_ih, b_hh and the input, from what `Recurrence.backward` left."""


class StackCall(NamedTuple):
    """One call of a `Stack`, as `Stack.backward` needs it.

    Attributes
    ----------
    source : ndarray of shape (N, I), or InputProjection
    outputs : list of ndarray of shape (N, D·P)
        By layer, before dropout.
    calls : list of list of LayerCall
        By layer and direction.
    masks : list of ndarray of shape (N, D·P), or None
        By layer: factors of dropout on its output.
    """

    source: np.ndarray | InputProjection
    outputs: list[np.ndarray]
    calls: list[list[LayerCall]]
    masks: list[np.ndarray | None]


class Stack:
    """Layers on top of each other, over packed sequences (see `LayerCall`).

    D is the number of directions, K = L·D, and state k = l·D + d belongs to direction d of layer
    l. It holds nothing of a call: any number of threads may use it at once.

    Parameters
    ----------
    layers : list of list of Recurrence
        By layer and direction.

    Attributes
    ----------
    output_width : int
        D·P of the last layer.
    row_bytes : int
        Memory that one row of a call keeps for `backward`.
    """

    def __init__(self, layers: list[list[Recurrence]]) -> None:
        self.layers = layers
        first, everyone = layers[0][0], [one for layer in layers for one in layer]
        self.dtype, self._has_c = first.dtype, first.cell.has_c
        self._state_shapes = (len(everyone), first.output_size), (len(everyone), first.hidden_size)
        numbers = sum(one.saved_width + one.output_size for one in everyone)
        self.output_width = len(layers[-1]) * layers[-1][0].output_size
        self.row_bytes = numbers * self.dtype.itemsize

    def forward(
        self,
        x: np.ndarray | InputProjection,
        states: tuple[np.ndarray | None, np.ndarray | None],
        batch: tuple[int, int, np.ndarray | None],
        save: bool,
        dropout: Sequence[float] = (),
        draw: DrawMask | None = None,
        resets: Sequence[np.ndarray] | None = None,
        out: Outputs | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray | None], StackCall]:
        """Run all layers.

        Parameters
        ----------
        x : ndarray of shape (N, I), C-contiguous, or InputProjection
        states : h0 of shape (K, B, P), c0 of shape (K, B, H), or None for zeros
        batch : N, B, batch_sizes
            Rows, sequences, and the sequences of each step or None for B.
        save : bool
            Keep what `backward` needs.
        dropout : sequence of float
            Probability with which an output is dropped, for the first layers or all.
        draw : callable or None
            Draws what dropout drops; None drops nothing.
        resets : ndarray of uint8 of shape (N,) for each direction, or None
            See `LayerCall`.
        out : y, h_n, c_n, OUT, or None for fresh arrays
            Where to put the output and the final states.

        Returns
        -------
        y : ndarray of shape (N, D·P)
            Output of the last layer, its directions side by side.
        h_n, c_n : ndarray of shape (K, B, P), (K, B, H)
            c_n is None unless the cell has a cell state.
        call : StackCall
        """
        rows, B, batch_sizes = batch
        h0, c0 = states
        if out is None:
            out = self.empty_output(rows), *self._empty_states(B)
        top, h_n, c_n = out
        call, current = StackCall(x, [], [], []), x
        for number, layer in enumerate(self.layers):
            P, last = layer[0].output_size, number == len(self.layers) - 1
            y = top if last else pooled_empty((rows, len(layer) * P), layer[0].dtype)
            call.outputs.append(y)
            call.calls.append([])
            for d, one in enumerate(layer):
                k = number * len(layer) + d
                source = current if isinstance(current, np.ndarray) else None
                saved = one.save(rows) if save or source is None else None
                if not isinstance(current, np.ndarray):
                    assert saved is not None
                    current.forward(one, saved.gates)
                start = None if h0 is None else h0[k], None if c0 is None else c0[k]
                outputs = y[:, d * P : (d + 1) * P], h_n[k], None if c_n is None else c_n[k]
                marks = None if resets is None else resets[d]
                call.calls[-1].append(
                    one.forward(source, start, outputs, batch_sizes, saved, marks)
                )
            current = y
            mask = None
            if draw is not None and number < len(dropout) and dropout[number] > 0.0:
                mask = draw(dropout[number], pooled_empty(y.shape, y.dtype))
                current = np.multiply(y, mask, out=pooled_empty(y.shape, y.dtype))
            call.masks.append(mask)
        assert isinstance(current, np.ndarray)
        return current, (h_n, c_n), call

    def empty_output(self, rows: int) -> np.ndarray:
        """An array for the last layer's output, of shape (N, D·P)."""
        return pooled_empty((rows, self.output_width), self.dtype)

    def _empty_states(self, B: int) -> tuple[np.ndarray, np.ndarray | None]:
        (K, P), (_, H) = self._state_shapes
        h_n = np.empty((K, B, P), self.dtype)
        return h_n, np.empty((K, B, H), self.dtype) if self._has_c else None

    def backward(
        self,
        call: StackCall,
        dy: np.ndarray | None,
        dstates: tuple[np.ndarray, np.ndarray | None],
        dx: np.ndarray | None,
        accumulate: bool = True,
        weights: Sequence[Weights] | None = None,
    ) -> None:
        """Invert a call of `forward`, once: gradients of all parameters.

        Parameters
        ----------
        call : StackCall
        dy : ndarray of shape (N, D·P), or None for zeros
        dstates : dh of shape (K, B, P), dc of shape (K, B, H) or None, INOUT
            Gradients of the final states in, of the initial states out.
        dx : ndarray of shape (N, I), OUT, or None where it is not wanted
        accumulate : bool
            Add to the parameters' gradients instead of overwriting them.
        weights : sequence of K Weights, or None for the parameters' own
            Where to put the gradients; x is an array.
        """
        dh, dc = dstates
        for number in reversed(range(len(self.layers))):
            layer, mask = self.layers[number], call.masks[number]
            P = layer[0].output_size
            if mask is not None and dy is not None:
                dy = np.multiply(dy, mask, out=pooled_empty(mask.shape, mask.dtype))
            below = dx
            if number:
                rows, width = len(call.calls[number][0].y), self._width(number - 1)
                below = pooled_empty((rows, width), layer[0].dtype)
            for d in range(len(layer)):
                k = number * len(layer) + d
                part = None if dy is None else dy[:, d * P : (d + 1) * P]
                dstate = dh[k], None if dc is None else dc[k]
                own = None if weights is None else weights[k]
                self._backward_one(call, number, d, part, dstate, below, accumulate, own)
            dy = below

    def _width(self, number: int) -> int:
        return len(self.layers[number]) * self.layers[number][0].output_size

    def _backward_one(
        self,
        call: StackCall,
        number: int,
        d: int,
        dy: np.ndarray | None,
        dstate: tuple[np.ndarray, np.ndarray | None],
        dx: np.ndarray | None,
        accumulate: bool,
        weights: Weights | None,
    ) -> None:
        one, layer_call = self.layers[number][d], call.calls[number][d]
        if layer_call.x is not None:
            one.backward(layer_call, dy, dstate, dx, d > 0, accumulate, weights)
            return
        # The input projection has its own way to the gradients of weight and biases.
        weights = one.gradients()._replace(w_ih=None, b_ih=None, b_hh=None)
        one.backward(layer_call, dy, dstate, None, False, accumulate, weights)
        assert layer_call.saved is not None
        assert not isinstance(call.source, np.ndarray)
        call.source.backward(one, layer_call.saved, accumulate)
