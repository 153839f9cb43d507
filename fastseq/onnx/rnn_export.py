"""Recurrent layers as nodes: one for each layer, both directions in it.

A projection, h = W_hr o·tanh(c), is no part of ONNX's LSTM. The node keeps the state before the
projection: its recurrent weight is W_hh W_hr, its output and final state are multiplied by W_hrᵀ
after it, and an initial state is turned into one that the projection maps to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .._kernels.cells import BY_NAME
from .builder import Builder, Size, Value
from .package import OnnxError

Array = np.ndarray
# Our blocks of rows in ONNX's order: iofc of ifgo, zrh of rzn.
ORDERS = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


class Rnn(NamedTuple):
    """A stack of recurrent layers.

    Attributes
    ----------
    cell : str
        Name in the table of cells.
    weights : dict of str to ndarray
        As in PyTorch's ``state_dict``.
    num_layers, hidden_size : int
    bidirectional : bool
    dropout : float
        Between layers.
    path : str
        The module's place.
    """

    cell: str
    weights: Mapping[str, Array]
    num_layers: int
    hidden_size: int
    bidirectional: bool
    dropout: float
    path: str

    @property
    def D(self) -> int:
        """Number of directions."""
        return 1 + self.bidirectional

    @property
    def projected(self) -> int:
        """Size of the projected state, or of the state."""
        return int(self.weights["weight_hh_l0"].shape[1])


def export_rnn(
    b: Builder, rnn: Rnn, x: str, lengths: str, states: list[Value]
) -> tuple[str, list[str]]:
    """Add the nodes of all layers.

    Parameters
    ----------
    b : Builder
    rnn : Rnn
    x : str
        Input of shape (T, B, I).
    lengths : str
        Of the sequences, int32; empty for none.
    states : list of Value
        Initial states h, c of shape (L·D, B, ·), or none.

    Returns
    -------
    y : str
        Output of shape (T, B, D·H).
    states : list of str
        Final states, of shape (L·D, B, ·).
    """
    initial = [_by_layer(b, rnn, state.name) for state in states]
    finals = []
    for n in range(rnn.num_layers):
        if n and rnn.dropout:
            x = dropout(b, x, rnn.dropout, f"{rnn.path}.dropout")
        x, final = _layer(b, rnn, n, x, lengths, [state[n] for state in initial])
        finals.append(final)
    if rnn.num_layers == 1:
        return x, finals[0]
    return x, [b.node("Concat", part, rnn.path, axis=0)[0] for part in zip(*finals, strict=True)]


def dropout(b: Builder, x: str, p: float, path: str) -> str:
    """Dropout, which acts in training only."""
    ratio = b.weight(f"ratio_{p!r}", np.array(p, np.float32))
    return b.node("Dropout", [x, ratio], path)[0]


def _by_layer(b: Builder, rnn: Rnn, state: str) -> list[str]:
    """Parts of a state for each layer."""
    if rnn.num_layers == 1:
        return [state]
    sizes = b.integers(*[rnn.D] * rnn.num_layers)
    return b.node("Split", [state, sizes], rnn.path, rnn.num_layers, axis=0)


def _layer(
    b: Builder, rnn: Rnn, n: int, x: str, lengths: str, states: list[str]
) -> tuple[str, list[str]]:
    """One layer: its output (T, B, D·H), and its final states (D, B, ·)."""
    name = ".".join(filter(None, [rnn.path, f"l{n}"]))
    w_hr = [rnn.weights.get(f"weight_hr_l{n}{suffix}") for suffix in ("", "_reverse")[: rnn.D]]
    if w_hr[0] is not None and states:
        states = [_unprojected(b, rnn, name, w_hr, states[0]), *states[1:]]
    direction = "bidirectional" if rnn.bidirectional else "forward"
    y, h, *c = rnn_node(b, rnn, n, [x, lengths, *states], direction)
    if w_hr[0] is not None:
        factor = b.weight(f"{name}.projection", np.stack([np.asarray(w).T for w in w_hr]))
        y, h = (b.node("MatMul", [value, factor], rnn.path)[0] for value in (y, h))
    (y,) = b.node("Transpose", [y], rnn.path, perm=[0, 2, 1, 3])
    (y,) = b.node("Reshape", [y, b.integers(0, 0, -1)], rnn.path)
    return y, [h, *c]


def rnn_node(b: Builder, rnn: Rnn, n: int, inputs: list[str], direction: str) -> list[str]:
    """The node of one layer.

    Parameters
    ----------
    b : Builder
    rnn : Rnn
    n : int
        Number of the layer.
    inputs : list of str
        X (T, B, I), sequence_lens, and initial states (D, B, H); empty for one that is left out.
    direction : str
        ONNX's word.

    Returns
    -------
    list of str
        Y (T, D, B, H), and the final states (D, B, H).
    """
    cell, op = BY_NAME[rnn.cell], BY_NAME[rnn.cell].family.upper()
    name = ".".join(filter(None, [rnn.path, f"l{n}"]))
    arrays = [_Direction(rnn, n, suffix) for suffix in ("", "_reverse")[: rnn.D]]
    bias = [a.bias for a in arrays if a.bias is not None]
    weights = [
        b.weight(f"{name}.W", np.stack([a.w_ih for a in arrays])),
        b.weight(f"{name}.R", np.stack([a.w_hh for a in arrays])),
        b.weight(f"{name}.B", np.stack(bias)) if bias else "",
    ]
    names = [inputs[0], *weights, *inputs[1:]]
    while not names[-1]:
        names.pop()
    options: dict[str, object] = {"linear_before_reset": 1} if op == "GRU" else {}
    if rnn.cell == "rnn_relu":
        options["activations"] = ["Relu"] * rnn.D
    options |= {"hidden_size": rnn.hidden_size, "direction": direction}
    return b.node(op, names, rnn.path, 2 + cell.has_c, **options)


class _Direction:
    """One direction's weights as ONNX takes them."""

    def __init__(self, rnn: Rnn, n: int, suffix: str) -> None:
        def rows(name: str, factor: Array | None = None) -> Array:
            array = rnn.weights[f"{name}_l{n}{suffix}"]
            if factor is not None:
                array = (array.astype(np.float64) @ factor).astype(array.dtype)
            order = ORDERS[BY_NAME[rnn.cell].family]
            blocks = np.split(array, len(order))
            return np.concatenate([blocks[place] for place in order])

        w_hr = rnn.weights.get(f"weight_hr_l{n}{suffix}")
        wide = None if w_hr is None else w_hr.astype(np.float64)
        self.w_ih, self.w_hh = rows("weight_ih"), rows("weight_hh", wide)
        self.bias: Array | None = None
        if f"bias_ih_l{n}" in rnn.weights:
            self.bias = np.concatenate([rows("bias_ih"), rows("bias_hh")])


def _unprojected(
    b: Builder, rnn: Rnn, name: str, projections: list[Array | None], state: str
) -> str:
    """States (D, B, H) that the projections map to these of (D, B, P)."""
    factors = []
    for projection in projections:
        w_hr = np.asarray(projection, np.float64)  # (P, H)
        if np.linalg.matrix_rank(w_hr) < len(w_hr):
            raise OnnxError(
                f"{name}: weight_hr: expected independent rows, because the projection of the "
                "initial states has to be undone"
            )
        factors.append(np.linalg.pinv(w_hr).T)
    factor = b.weight(f"{name}.unprojection", np.stack(factors).astype(b.dtype))
    return b.node("MatMul", [state, factor], rnn.path)[0]


def output_shape(rnn: Rnn, x: tuple[Size, ...]) -> tuple[Size, ...]:
    """The shape of the output, from that of the input."""
    return *x[:-1], rnn.projected * rnn.D
