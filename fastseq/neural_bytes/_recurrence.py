"""One recurrent layer over one sequence, for weights that are no `Parameter`."""

from __future__ import annotations

import numpy as np

from .._kernels.cells import BY_NAME
from .._kernels.records import Gradients, LayerCall, Saved, Weights
from ..backend import kernels


def run(
    cell: str, gates: np.ndarray, w_hh: np.ndarray, h0: np.ndarray, c0: np.ndarray | None = None
) -> LayerCall:
    """The states of all steps.

    Parameters
    ----------
    cell : str
        A name of the table of cells.
    gates : ndarray of shape (T, G·H), float64, INOUT
        The input projection, bias included.
    w_hh : ndarray of shape (G·H, H)
    h0, c0 : ndarray of shape (1, H)
    """
    T, H = len(gates), h0.shape[1]
    c = None if c0 is None else np.empty((T, H))
    call = LayerCall(
        BY_NAME[cell].id, None, Weights(None, np.ascontiguousarray(w_hh)), h0, c0, None, False,
        np.empty((T, H)), np.empty((1, H)), None if c is None else np.empty((1, H)),
        Saved(gates, c),
    )  # fmt: skip
    kernels(gates.dtype).layer_forward(call)
    return call


def run_back(call: LayerCall, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of gates, of shape (T, G·H), and w_hh from that of the states, dy (T, H).

    The call stays as it is and may be inverted again.
    """
    assert call.saved is not None
    assert call.weights.w_hh is not None
    copy = call._replace(saved=call.saved._replace(gates=call.saved.gates.copy()))
    assert copy.saved is not None
    dh, dw = np.zeros_like(call.h_n), np.empty_like(call.weights.w_hh)
    dc = None if call.c_n is None else np.zeros_like(call.c_n)
    gradients = Gradients(dy, dh, dc, None, False, Weights(None, dw), False)
    kernels(dy.dtype).layer_backward(copy, gradients)
    return copy.saved.gates, dw
