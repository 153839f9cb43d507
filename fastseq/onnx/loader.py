"""From a file to a module: constants are folded, weights become layers, the rest steps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from .graph import Graph, GraphModule, Port, run_step
from .layers import LayerBuilder, Node
from .package import DOMAINS, DTYPES, OnnxError
from .reading import attributes, opset, read_model, tensor
from .steps import NONE, Branch, Call, Step, Values, walk
from .table import OPERATORS

Array = np.ndarray
MAX_FOLDED = 1 << 28  # bytes of computed constants beyond those of the file
RESERVED = {*dir(GraphModule), "inputs", "outputs", "metadata", "graph", "_pending"}


def load(path: str | os.PathLike[str]) -> GraphModule:
    """Read an ONNX model as a module that computes it and can be trained further.

    Recurrent nodes, embeddings, matrix products with constant weights, layer normalizations and
    dropout become layers of `fastseq.nn`; other operators run on NumPy. Constants are computed
    once, and ``If`` nodes with a constant condition are replaced by the branch that is taken. The
    module is in eval mode, in which ONNX models are meant to run; ``train()`` prepares it for
    `backward`.

    Parameters
    ----------
    path : path-like
        Of versions 7 to 28 of the operators. Tensors may lie in a file beside it.

    Returns
    -------
    GraphModule
        With inputs and outputs in the order of the file.

    Raises
    ------
    ImportError
        The package onnx is missing.
    OSError
        The file cannot be read.
    OnnxError
        It is damaged or no ONNX model, or holds what fastseq cannot express: the message names
        file, node and attribute.

    Examples
    --------
    >>> import numpy as np
    >>> import fastseq.onnx
    >>> from fastseq import nn
    >>> gru = nn.GRU(3, 4, bidirectional=True, seed=0).eval()
    >>> fastseq.onnx.export(gru, "gru.onnx")
    >>> model = fastseq.onnx.load("gru.onnx")
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> bool((model(x)[0] == gru(x)[0]).all())
    True
    """
    try:
        model = read_model(path)
        return _Loader(opset(model), Path(path).parent).module(model)
    except OnnxError as error:
        raise OnnxError(f"{os.fspath(path)}: {error}") from None


Scope = dict[str, int]  # slots of the values that can be seen, by name


class _Loader:
    """Builds the steps of one model."""

    def __init__(self, version: int, folder: Path) -> None:
        self._opset, self._folder = version, folder
        self._constants: Values = {}
        self._builder = LayerBuilder(self._constants, RESERVED)
        self._slots = 0
        self._folded = 0
        self._uses: Counter[str] = Counter()

    def module(self, model: Any) -> GraphModule:
        """The module of a ModelProto."""
        graph = model.graph
        _check_names(graph)
        self._uses.update(_uses(graph))
        scope: Scope = {}
        self._add_initializers(graph, scope)
        given = [value for value in graph.input if value.name not in scope]
        for value in given:
            scope[value.name] = self._slot()
        steps = self._body(graph, scope)
        self._builder.share(walk(steps))
        outputs = tuple(_known(value.name, scope) for value in graph.output)
        if not outputs:
            raise OnnxError("graph: expected outputs, got none")
        return GraphModule(
            Graph(
                steps, self._constants, tuple(scope[v.name] for v in given), outputs, self._opset
            ),
            self._builder.layers,
            tuple(map(_port, given)),
            tuple(map(_port, graph.output)),
            {entry.key: entry.value for entry in model.metadata_props},
        ).eval()

    # -- values ----------------------------------------------------------------------------

    def _slot(self) -> int:
        self._slots += 1
        return self._slots

    def _constant(self, array: Array) -> int:
        slot = self._slot()
        self._constants[slot] = array
        return slot

    def _add_initializers(self, graph: Any, scope: Scope) -> None:
        if graph.sparse_initializer:
            raise OnnxError("sparse tensors are not supported")
        for proto in graph.initializer:
            scope[proto.name] = self._constant(tensor(proto, self._folder))

    # -- nodes -----------------------------------------------------------------------------

    def _body(self, graph: Any, scope: Scope) -> list[Step]:
        """The steps of a graph; `scope` gets the values that it computes."""
        steps: list[Step] = []
        for proto in graph.node:
            label = f"{proto.op_type} node {proto.name or ', '.join(filter(None, proto.output))!r}"
            with _naming(label):
                node = self._resolved(proto, label, scope)
                slots = self._node(node, scope, steps)
            scope.update((n, s) for n, s in zip(proto.output, slots, strict=False) if n)
        return steps

    def _resolved(self, proto: Any, label: str, scope: Scope) -> Node:
        if proto.domain not in DOMAINS:
            raise OnnxError(f"operators of {proto.domain!r} are not supported")
        return Node(
            proto.op_type,
            proto.name,
            label,
            tuple(_known(name, scope) if name else NONE for name in proto.input),
            tuple(self._slot() if name else NONE for name in proto.output),
            attributes(proto, self._folder),
            bool(proto.output) and self._uses[proto.output[0]] == 1,
        )

    def _node(self, node: Node, scope: Scope, steps: list[Step]) -> tuple[int, ...]:
        """Add the steps of one node; return the slots of its outputs."""
        if all(slot == NONE for slot in node.outputs):
            raise OnnxError("expected an output")
        if node.op == "Constant":
            return (self._constant(_value(node.attributes)),)
        if node.op == "If":
            return self._if(node, scope, steps)
        if self._builder.absorb(node):
            return node.outputs
        step: Step | None = self._builder.step(node)
        if step is None:
            step = self._call(node)
            if all(slot in self._constants for slot in node.inputs if slot != NONE):
                return self._fold(step)
        steps.append(step)
        return node.outputs

    def _call(self, node: Node) -> Call:
        """The step of an operator, whose inputs and attributes the table knows."""
        if node.op not in OPERATORS:
            raise OnnxError("this operator is not supported")
        entry = OPERATORS[node.op]
        if unknown := set(node.attributes) - set(entry.attributes):
            raise OnnxError(f"attribute {min(unknown)!r} is not supported")
        if missing := set(entry.required) - set(node.attributes):
            raise OnnxError(f"attribute {min(missing)!r} is missing")
        count = len(node.inputs)
        if not entry.fewest <= count <= entry.most or NONE in node.inputs[: entry.fewest]:
            raise OnnxError(f"inputs: expected {entry.fewest} to {entry.most}, got {count}")
        if len(node.outputs) > 1 and "output_count" not in entry.context:
            raise OnnxError(f"outputs: expected 1, got {len(node.outputs)}")
        context = {"opset": self._opset, "output_count": len(node.outputs)}
        options = node.attributes | {name: context[name] for name in entry.context}
        return Call(node.label, node.inputs, node.outputs, node.op, options)

    def _fold(self, step: Call) -> tuple[int, ...]:
        """Compute a node of constants now."""
        inputs = [None if slot == NONE else self._constants[slot] for slot in step.inputs]
        try:
            with np.errstate(all="ignore"):
                results = run_step(step, nn.Module(), inputs)
        except MemoryError:
            raise OnnxError("the constant does not fit into memory") from None
        self._folded += sum(array.nbytes for array in results)
        if self._folded > MAX_FOLDED:
            raise OnnxError(f"constants: expected at most {MAX_FOLDED >> 20} MB to compute")
        return tuple(map(self._constant, results))

    # -- branches --------------------------------------------------------------------------

    def _if(self, node: Node, scope: Scope, steps: list[Step]) -> tuple[int, ...]:
        """The branch that a constant chooses, or both."""
        if set(node.attributes) != {"then_branch", "else_branch"} or len(node.inputs) != 1:
            raise OnnxError("expected one input, then_branch and else_branch")
        graphs = node.attributes["else_branch"], node.attributes["then_branch"]
        condition = self._constants.get(node.inputs[0])
        if condition is not None:
            if condition.size != 1:
                raise OnnxError(f"condition: expected one value, got shape {condition.shape}")
            body, results = self._branch(graphs[bool(condition.reshape(()))], scope, node)
            steps += body
            return results
        bodies = []
        for graph in graphs:
            body, results = self._branch(graph, scope, node)
            for source, target in zip(results, node.outputs, strict=True):
                if target != NONE:
                    body.append(Call(node.label, (source,), (target,), "Identity"))
            bodies.append(body)
        steps.append(Branch(node.label, node.inputs, node.outputs, (bodies[0], bodies[1])))
        return node.outputs

    def _branch(self, graph: Any, scope: Scope, node: Node) -> tuple[list[Step], tuple[int, ...]]:
        """Steps and results of a branch, which sees the values around it."""
        _check_names(graph)
        inner = scope.copy()
        self._add_initializers(graph, inner)
        body = self._body(graph, inner)
        results = tuple(_known(value.name, inner) for value in graph.output)
        if len(results) != len(node.outputs):
            raise OnnxError(f"expected {len(node.outputs)} results of a branch, "
                            f"got {len(results)}")  # fmt: skip
        return body, results


@contextmanager
def _naming(label: str) -> Iterator[None]:
    """Begin errors of a block with a node, unless they name an inner one."""
    try:
        yield
    except OnnxError as error:
        text = str(error)
        if " node '" in text:
            raise
        raise OnnxError(f"{label}: {text}") from None


def _known(name: str, scope: Scope) -> int:
    if name not in scope:
        raise OnnxError(f"value {name!r} is used before a node computes it")
    return scope[name]


def _check_names(graph: Any) -> None:
    """Refuse a graph in which two values have the same name; an initializer may be a default."""
    names = Counter(value.name for value in graph.input)
    defaults = {proto.name for proto in graph.initializer} - set(names)
    names.update(defaults)
    names.update(name for node in graph.node for name in node.output if name)
    if twice := [name for name, count in names.items() if count > 1]:
        raise OnnxError(f"value {twice[0]!r} is computed twice")


def _uses(graph: Any) -> Iterator[str]:
    """Every name that a graph reads, once for each place, inner graphs included."""
    for node in graph.node:
        yield from node.input
        for entry in node.attribute:
            if entry.HasField("g"):
                yield from _uses(entry.g)
    yield from (value.name for value in graph.output)


def _value(known: dict[str, Any]) -> Array:
    """The array of a Constant node."""
    types = {"value": None, "value_float": np.float32, "value_int": np.int64,
             "value_floats": np.float32, "value_ints": np.int64}  # fmt: skip
    if len(known) != 1 or set(known) - set(types):
        raise OnnxError(f"expected one value of numbers, got {', '.join(known) or 'none'}")
    ((name, value),) = known.items()
    return np.asarray(value, types[name])


def _port(value: Any) -> Port:
    """Name, type and shape of an input or output."""
    kind = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or kind.elem_type not in DTYPES:
        raise OnnxError(f"{value.name}: expected a tensor of numbers")
    shape = None
    if kind.HasField("shape"):
        shape = tuple(_size(dim) for dim in kind.shape.dim)
    return Port(value.name, DTYPES[kind.elem_type], shape)


def _size(dim: Any) -> int | str | None:
    if dim.HasField("dim_param") and dim.dim_param:
        return str(dim.dim_param)
    return int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None
