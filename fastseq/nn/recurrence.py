"""The functional core: one call of one recurrent layer in one direction."""

from typing import Any, Protocol, Self

import numpy as np

from .._kernels.cells import Cell
from .._kernels.records import Gradients, LayerCall, Saved, Weights
from ..backend import kernels
from .buffers import pooled_empty


class Weight(Protocol):
    """What a recurrence asks of a parameter."""

    @property
    def data(self) -> np.ndarray: ...
    @property
    def grad(self) -> np.ndarray: ...
    @property
    def requires_grad(self) -> bool: ...


class Recurrence:
    """One recurrent layer in one direction.

    It holds parameters and nothing of a call: any number of threads may use it at once.

    Parameters
    ----------
    cell : Cell
    reverse : bool
        Run from the last step to the first.
    w_ih : Weight of shape (G·H, I), or None where the input projection comes from elsewhere
    w_hh : Weight of shape (G·H, P)
    b_ih, b_hh : Weight of shape (G·H,), or both None
    w_hr : Weight of shape (P, H) or None
        Projection; without it P = H.

    Attributes
    ----------
    dtype : numpy.dtype
    width, hidden_size, output_size : int
        G·H, H and P.
    saved_width : int
        Numbers that `save` allocates for each row.
    """

    def __init__(
        self,
        cell: Cell,
        reverse: bool,
        w_ih: Weight | None,
        w_hh: Weight,
        b_ih: Weight | None = None,
        b_hh: Weight | None = None,
        w_hr: Weight | None = None,
    ) -> None:
        self.cell, self.reverse = cell, reverse
        self.w_ih, self.w_hh, self.b_ih, self.b_hh, self.w_hr = w_ih, w_hh, b_ih, b_hh, w_hr
        self._parameters = w_ih, w_hh, b_ih, b_hh, w_hr  # in the order of Weights
        self.dtype = w_hh.data.dtype
        self.width, self.output_size = w_hh.data.shape
        self.hidden_size = H = self.width // len(cell.gates)
        self.saved_width = self.width + H * (cell.has_c + cell.inner_gates + (w_hr is not None))

    @classmethod
    def of(cls, cell: Cell, parameters: dict[str, Any], suffix: str, inputs: bool = True) -> Self:
        """The layer whose parameters are named ``weight_ih_l0`` and so on, by their suffix.

        inputs: whether to include w_ih.
        """
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        w_ih, w_hh, b_ih, b_hh, w_hr = (parameters.get(name + suffix) for name in names)
        assert w_hh is not None
        reverse = suffix.endswith("_reverse")
        return cls(cell, reverse, w_ih if inputs else None, w_hh, b_ih, b_hh, w_hr)

    def weights(self) -> Weights:
        """The parameters' present values."""
        return Weights(*[None if p is None else p.data for p in self._parameters])

    def gradients(self) -> Weights:
        """The arrays of those gradients that are wanted."""
        return Weights(
            *[None if p is None or not p.requires_grad else p.grad for p in self._parameters]
        )

    def save(self, rows: int) -> Saved:
        """Arrays for what `backward` needs of a call with so many rows."""
        H, cell, dtype = self.hidden_size, self.cell, self.dtype
        return Saved(
            pooled_empty((rows, self.width), dtype),
            pooled_empty((rows, H), dtype) if cell.has_c else None,
            pooled_empty((rows, cell.inner_gates * H), dtype) if cell.inner_gates else None,
            None if self.w_hr is None else pooled_empty((rows, H), dtype),
        )

    def forward(
        self,
        x: np.ndarray | None,
        states: tuple[np.ndarray | None, np.ndarray | None],
        outputs: tuple[np.ndarray, np.ndarray, np.ndarray | None],
        batch_sizes: np.ndarray | None,
        saved: Saved | None,
        resets: np.ndarray | None = None,
    ) -> LayerCall:
        """Run through time.

        Parameters
        ----------
        x : ndarray of shape (N, I), or None
            None: ``saved.gates`` holds the input projection.
        states : h0 of shape (B, P), c0 of shape (B, H), or None for zeros
        outputs : y of shape (N, P), h_n of shape (B, P), c_n of shape (B, H) or None, OUT
            c_n is None unless the cell has a cell state.
        batch_sizes : ndarray of int64 of shape (T,), or None
            See `LayerCall`.
        saved : Saved or None
            From `save`, where `backward` follows.
        resets : ndarray of uint8 of shape (N,), or None
            See `LayerCall`.
        """
        (h0, c0), (y, h_n, c_n) = states, outputs
        call = LayerCall(
            self.cell.id, x, self.weights(), h0, c0, batch_sizes, self.reverse, y, h_n, c_n,
            saved, resets,
        )  # fmt: skip
        kernels(self.dtype).layer_forward(call)
        return call

    def backward(
        self,
        call: LayerCall,
        dy: np.ndarray | None,
        dstates: tuple[np.ndarray, np.ndarray | None],
        dx: np.ndarray | None,
        add_to_dx: bool = False,
        accumulate: bool = True,
        weights: Weights | None = None,
    ) -> None:
        """Invert a call of `forward`, once.

        Parameters
        ----------
        call : LayerCall
            Its ``saved.gates`` becomes the gradient of the input projection.
        dy : ndarray of shape (N, P), or None for zeros
        dstates : dh of shape (B, P), dc of shape (B, H) or None, INOUT
            Gradients of the final state in, of the initial state out.
        dx : ndarray of shape (N, I), OUT or ACC, or None where it is not wanted
        add_to_dx : bool
            Add to `dx` instead of overwriting it: x has fed another direction, too.
        accumulate : bool
            Add to the parameters' gradients instead of overwriting them.
        weights : Weights, optional
            Where to put the gradients of the parameters; by default `gradients`.
        """
        wanted = self.gradients() if weights is None else weights
        dh, dc = dstates
        kernels(self.dtype).layer_backward(
            call, Gradients(dy, dh, dc, dx, add_to_dx, wanted, accumulate)
        )


def project(x: np.ndarray, layer: Recurrence, out: np.ndarray) -> None:
    """The input projection of a layer: out = x @ w_ihᵀ + bias.

    Parameters
    ----------
    x : ndarray of shape (n, I)
    layer : Recurrence
    out : ndarray of shape (n, G·H), OUT
    """
    assert layer.w_ih is not None
    kernels(layer.dtype).matmul(x, layer.w_ih.data.T, out, input_bias(layer), False)


def input_bias(layer: Recurrence) -> np.ndarray | None:
    """The bias of the input projection: b_ih + b_hh, of inner gates only b_ih; or None."""
    if layer.b_ih is None or layer.b_hh is None:
        return None
    bias = layer.b_ih.data.copy()
    outer = layer.width - layer.cell.inner_gates * layer.hidden_size
    bias[:outer] += layer.b_hh.data[:outer]
    return bias


def bias_gradients(
    layer: Recurrence, rows: np.ndarray, inner: np.ndarray | None, accumulate: bool
) -> None:
    """Gradients of b_ih and b_hh from fewer rows than `layer_backward` sums.

    Parameters
    ----------
    rows : ndarray of shape (n, G·H)
        Any rows with the sum of the input projection's gradient.
    inner : ndarray of shape (N, inner_gates·H) or None
        ``saved.inner`` after `Recurrence.backward`.
    """
    k, sums = kernels(layer.dtype), np.zeros(layer.width, layer.dtype)
    for parameter, a in ((layer.b_ih, rows), (layer.b_hh, inner)):
        if a is not None:
            part = sums[layer.width - a.shape[1] :]
            part.fill(0)
            k.sum_rows(a, part)
        if parameter is not None:
            parameter.grad[...] = parameter.grad + sums if accumulate else sums
