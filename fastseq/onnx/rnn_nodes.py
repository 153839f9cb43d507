"""LSTM, GRU and RNN nodes as layers of `fastseq.nn`; what a layer cannot express is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from .package import OnnxError

Array = np.ndarray


class RnnKind(NamedTuple):
    """An operator, and what is ours.

    Attributes
    ----------
    layer : type
        Class of `fastseq.nn`.
    order : tuple of int
        Blocks of ONNX's rows in the order of our gates.
    activations : tuple of str
        The only ones that it computes with.
    """

    layer: Any
    order: tuple[int, ...]
    activations: tuple[str, ...]


RNN_KINDS = {
    "LSTM": RnnKind(nn.LSTM, (0, 2, 3, 1), ("sigmoid", "tanh", "tanh")),  # iofc to ifgo
    "GRU": RnnKind(nn.GRU, (1, 0, 2), ("sigmoid", "tanh")),  # zrh to rzn
    "RNN": RnnKind(nn.RNN, (0,), ("tanh",)),
}
DIRECTIONS = ("forward", "reverse", "bidirectional")
_KNOWN = {"activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size",
          "layout"}  # fmt: skip
_OWN = {"LSTM": {"input_forget"}, "GRU": {"linear_before_reset"}, "RNN": set()}


def recurrent_layer(
    op: str, attributes: dict[str, Any], weights: Sequence[Array | None]
) -> nn.Module:
    """The layer of an LSTM, GRU or RNN node.

    Parameters
    ----------
    op : str
    attributes : dict
    weights : W, R, B or None, P or None
    """
    kind, (w, r, b, peepholes) = RNN_KINDS[op], weights
    if unknown := set(attributes) - _KNOWN - _OWN[op]:
        raise OnnxError(f"attribute {min(unknown)!r} is not supported")
    direction = attributes.get("direction", "forward")
    _check_choice("direction", direction, DIRECTIONS)
    _check_choice("layout", attributes.get("layout", 0), (0, 1))
    if peepholes is not None:
        raise OnnxError("P: peepholes cannot be expressed")
    if attributes.get("clip"):
        raise OnnxError(f"clip: expected none, got {attributes['clip']:g}")
    if attributes.get("input_forget"):
        raise OnnxError("input_forget: expected 0, got 1: coupled gates cannot be expressed")
    if op == "GRU" and attributes.get("linear_before_reset", 0) != 1:
        raise OnnxError("linear_before_reset: expected 1, got 0: the reset gate would have to act "
                        "before the matrix product")  # fmt: skip
    D = 1 + (direction == "bidirectional")
    options = _activations(op, attributes.get("activations"), D)
    assert w is not None
    assert r is not None
    H = _check_weights(len(kind.order), D, w, r, b, attributes.get("hidden_size"))
    layer: nn.Module = kind.layer(
        w.shape[2], H, bias=b is not None, bidirectional=D == 2, dtype=w.dtype, **options
    )
    layer.load_state_dict(_state(kind, D, w, r, b))
    return layer


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise OnnxError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")


def _activations(op: str, given: tuple[str, ...] | None, D: int) -> dict[str, str]:
    """The options of a layer that computes with these activations."""
    expected = RNN_KINDS[op].activations * D
    if given is None or tuple(name.lower() for name in given) == expected:
        return {}
    if op == "RNN" and tuple(name.lower() for name in given) == ("relu",) * D:
        return {"nonlinearity": "relu"}
    names = ", ".join(name.capitalize() for name in expected)
    raise OnnxError(f"activations: expected {names}, got {', '.join(given) or 'none'}")


def _check_weights(
    gates: int, D: int, w: Array, r: Array, b: Array | None, hidden: int | None
) -> int:
    """Check all shapes; return H."""
    if r.ndim != 3 or w.ndim != 3 or 0 in w.shape + r.shape:
        raise OnnxError(f"W, R: expected three axes and values, got shapes {w.shape}, {r.shape}")
    H = r.shape[2]
    if hidden is not None and hidden != H:
        raise OnnxError(f"hidden_size: expected {H} by the shape {r.shape} of R, got {hidden}")
    shapes: dict[str, tuple[Array, tuple[int, ...]]]
    shapes = {"W": (w, (D, gates * H, w.shape[2])), "R": (r, (D, gates * H, H))}
    if b is not None:
        shapes["B"] = b, (D, 2 * gates * H)
    for name, (array, expected) in shapes.items():
        if array.shape != expected:
            raise OnnxError(f"{name}: expected shape {expected}, got {array.shape}")
        if array.dtype.name not in ("float32", "float64") or array.dtype != w.dtype:
            raise OnnxError(f"{name}: expected float32 or float64 as all, got {array.dtype}")
    return H


def _state(kind: RnnKind, D: int, w: Array, r: Array, b: Array | None) -> dict[str, Array]:
    """The layer's parameters, their rows in our order."""

    def rows(array: Array) -> Array:
        blocks = np.split(array, len(kind.order))
        return np.concatenate([blocks[place] for place in kind.order])

    state = {}
    for d, suffix in enumerate(("", "_reverse")[:D]):
        state[f"weight_ih_l0{suffix}"] = rows(w[d])
        state[f"weight_hh_l0{suffix}"] = rows(r[d])
        if b is not None:
            b_ih, b_hh = np.split(b[d], 2)
            state[f"bias_ih_l0{suffix}"], state[f"bias_hh_l0{suffix}"] = rows(b_ih), rows(b_hh)
    return state
