"""Nodes with constant weights become layers of `fastseq.nn`, whose parameters can be trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from .package import OnnxError
from .rnn_nodes import RNN_KINDS, recurrent_layer
from .steps import NONE, EmbeddingStep, LayerStep, RecurrentStep, Step, Values

Array = np.ndarray


class Node(NamedTuple):
    """A node whose names are resolved.

    Attributes
    ----------
    op, name : str
    label : str
        For messages.
    inputs, outputs : tuple of int
        Slots.
    attributes : dict
    used_once : bool
        Whether only one node reads the first output.
    """

    op: str
    name: str
    label: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: dict[str, Any]
    used_once: bool


class LayerBuilder:
    """Makes layers of nodes.

    Parameters
    ----------
    constants : dict of int to ndarray
        The graph's constants by slot; others may be added.
    reserved : set of str
        Names that no layer may have.

    Attributes
    ----------
    layers : dict of str to Module
        By the names that they get.
    """

    def __init__(self, constants: Values, reserved: set[str]) -> None:
        self.layers: dict[str, nn.Module] = {}
        self._constants, self._reserved = constants, reserved
        self._sources: dict[str, tuple[Any, ...]] = {}  # what a layer is made of, by its name
        self._products: dict[int, LayerStep] = {}  # they may get a bias; by output
        self._makers: dict[str, Callable[[Node], LayerStep | None]] = {
            "Dropout": self._dropout,
            "Gather": self._gather,
            "Gemm": self._gemm,
            "LayerNormalization": self._layer_norm,
            "MatMul": self._matmul,
        } | dict.fromkeys(RNN_KINDS, self._recurrent)

    def step(self, node: Node) -> LayerStep | None:
        """The step of a node that becomes a layer; None for any other."""
        maker = self._makers.get(node.op)
        return None if maker is None else maker(node)

    # -- recurrent layers ------------------------------------------------------------------

    def _recurrent(self, node: Node) -> RecurrentStep:
        """Inputs are X, W, R, B, sequence_lens, initial_h, initial_c, P."""
        most, states = (8, 3) if node.op == "LSTM" else (6, 2)
        given = len(node.inputs)
        if not 3 <= given <= most or NONE in node.inputs[:3] or len(node.outputs) > states:
            raise OnnxError(f"expected X, W, R, up to {most} inputs and up to {states} outputs")
        x, w, r, b, lengths, h0, c0, p = node.inputs + (NONE,) * (8 - given)
        weights = [self._constant(*pair) for pair in zip("WRBP", (w, r, b, p), strict=True)]
        layer = recurrent_layer(node.op, node.attributes, weights)
        name = self._add(node, layer, node.op, w, r, b, node.attributes.get("activations"))
        return RecurrentStep(
            node.label,
            (x, lengths, h0, c0),
            node.outputs + (NONE,) * (states - len(node.outputs)),
            name,
            node.attributes.get("direction") == "reverse",
            bool(node.attributes.get("layout", 0)),
        )

    def _constant(self, name: str, slot: int) -> Array | None:
        """A constant input; None where it is left out."""
        if slot != NONE and slot not in self._constants:
            raise OnnxError(f"{name}: expected a constant, got a computed value")
        return self._constants.get(slot)

    # -- other layers ----------------------------------------------------------------------

    def _dropout(self, node: Node) -> LayerStep:
        if unknown := set(node.attributes) - {"ratio", "seed"}:
            raise OnnxError(f"attribute {min(unknown)!r} is not supported")
        if NONE in node.inputs[:1] or any(slot != NONE for slot in node.outputs[1:]):
            raise OnnxError("expected an input and one output, without the mask")
        ratio = node.attributes.get("ratio", 0.5)
        if NONE not in node.inputs[1:2]:
            for slot in node.inputs[1:2]:
                ratio = self._constant("ratio", slot)
        if np.size(ratio) != 1 or not 0 <= np.reshape(ratio, ()) <= 1:
            raise OnnxError("ratio: expected a number from 0 to 1")
        layer = nn.Dropout(float(str(np.float32(np.reshape(ratio, ())))))  # 0.1, as it was meant
        return LayerStep(node.label, node.inputs[:1], node.outputs[:1], self._add(node, layer))

    def _gather(self, node: Node) -> LayerStep | None:
        """Rows of a table, by ids that are computed."""
        table = self._matrix(node, 0)
        if table is None or node.attributes.get("axis") or self._is_constant(node, 1):
            return None
        layer = nn.Embedding(*table.shape, dtype=table.dtype)
        layer.load_state_dict({"weight": table})
        name = self._add(node, layer, node.op, node.inputs[0])
        return EmbeddingStep(node.label, node.inputs[1:], node.outputs, name)

    def _matmul(self, node: Node) -> LayerStep | None:
        weight = self._matrix(node, 1)
        if weight is None or self._is_constant(node, 0):
            return None
        return self._linear(node, weight.T, None)

    def _gemm(self, node: Node) -> LayerStep | None:
        """A product without factors, of a matrix that is not transposed."""
        plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": node.attributes.get("transB")}
        weight = self._matrix(node, 1)
        if (
            weight is None
            or self._is_constant(node, 0)
            or not node.attributes.items() <= plain.items()
        ):
            return None
        weight = weight if plain["transB"] else weight.T
        if len(node.inputs) < 3 or node.inputs[2] == NONE:
            return self._linear(node, weight, None)
        bias = self._constants.get(node.inputs[2])
        return self._linear(node, weight, bias) if _is_bias(bias, weight) else None

    def _layer_norm(self, node: Node) -> LayerStep | None:
        """A normalisation of axes that are counted from the last one."""
        arrays = [self._constants.get(slot) for slot in node.inputs[1:]]
        axis, known = node.attributes.get("axis", -1), {"axis", "epsilon", "stash_type"}
        if self._is_constant(node, 0) or len(node.outputs) > 1 or set(node.attributes) - known:
            return None
        gain, bias = (*arrays, None)[:2]
        if gain is None or gain.ndim != -axis or gain.dtype.name not in ("float32", "float64"):
            return None
        if len(node.inputs) > 2 and node.inputs[2] != NONE and not _are_alike(gain, bias):
            return None
        has_bias = bias is not None
        layer = nn.LayerNorm(
            gain.shape, float(str(np.float32(node.attributes.get("epsilon", 1e-5)))),
            bias=has_bias, dtype=gain.dtype,
        )  # fmt: skip
        layer.load_state_dict({"weight": gain} | ({"bias": bias} if bias is not None else {}))
        name = self._add(node, layer, node.op, *node.inputs[1:], layer.eps)
        return LayerStep(node.label, node.inputs[:1], node.outputs, name)

    def _matrix(self, node: Node, index: int) -> Array | None:
        """An input that is a constant matrix of a type that layers have."""
        if len(node.inputs) <= index:
            return None
        array = self._constants.get(node.inputs[index])
        if array is None or array.ndim != 2 or array.size == 0:
            return None
        return array if array.dtype.name in ("float32", "float64") else None

    def _is_constant(self, node: Node, index: int) -> bool:
        return len(node.inputs) <= index or node.inputs[index] in self._constants

    def _linear(self, node: Node, weight: Array, bias: Array | None) -> LayerStep:
        """The step of x @ weightᵀ + bias."""
        slots = (*node.inputs[1:], NONE)[:2]
        name = self._add(node, _linear(weight, bias), node.attributes.get("transB"), *slots)
        step = LayerStep(node.label, node.inputs[:1], node.outputs[:1], name)
        if bias is None and node.used_once:
            self._products[node.outputs[0]] = step
        return step

    def absorb(self, node: Node) -> bool:
        """Whether a node is the bias of a product before it, which then has taken it in."""
        if node.op != "Add" or len(node.inputs) != 2:
            return False
        for source, other in (node.inputs, node.inputs[::-1]):
            step, bias = self._products.get(source), self._constants.get(other)
            if step is not None:
                layer: Any = self.layers[step.child]
                if _is_bias(bias, layer.weight.data):
                    self.layers[step.child] = _linear(layer.weight.data, bias)
                    self._sources[step.child] = (*self._sources[step.child][:-1], other)
                    step.outputs = node.outputs
                    del self._products[source]
                    return True
        return False

    def share(self, steps: Iterable[Step]) -> None:
        """Let steps whose layers are made of the same constants share the first one's layer."""
        first: dict[tuple[Any, ...], str] = {}
        for step in steps:
            if isinstance(step, LayerStep) and self._sources[step.child]:
                name = first.setdefault(self._sources[step.child], step.child)
                if name != step.child:
                    del self.layers[step.child]
                    step.child = name

    def _add(self, node: Node, layer: nn.Module, *source: Any) -> str:
        """Store a layer under a name like its node's; `source` are the constants it is made of."""
        name = unique = layer_name(node.name, node.op, type(layer).__name__)
        count = 0
        while unique in self.layers or unique in self._reserved:
            count += 1
            unique = f"{name}_{count}"
        self.layers[unique], self._sources[unique] = layer, source
        return unique


def _are_alike(a: Array, b: Array | None) -> bool:
    return b is not None and a.shape == b.shape and a.dtype == b.dtype


def _is_bias(bias: Array | None, weight: Array) -> bool:
    """Whether a constant has one value for each row of the weight."""
    shapes = (len(weight),), (1, len(weight))
    return bias is not None and bias.dtype == weight.dtype and bias.shape in shapes


def _linear(weight: Array, bias: Array | None) -> nn.Linear:
    out, features = weight.shape
    layer = nn.Linear(features, out, bias=bias is not None, dtype=weight.dtype)
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias.reshape(out)}
    layer.load_state_dict(state)
    return layer


def layer_name(node: str, op: str, layer: str) -> str:
    """A name for an attribute, from a node's, such as ``encoder_lstm`` from /encoder/lstm/LSTM.

    Parameters
    ----------
    node, op : str
        The node's name, and its operator.
    layer : str
        The class of the layer, for a node whose name says no more.
    """
    path = re.sub(rf"(^|/){op}((_\d+)?)$", r"\2", node)
    if not path or path.startswith("_"):
        path = layer.lower() + path
    return re.sub(r"\W+", "_", path).strip("_") or layer.lower()
