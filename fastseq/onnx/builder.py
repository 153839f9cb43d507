"""A graph that is being written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._version import __version__
from .graph import Port
from .package import IR_VERSION, NEWER_IR_VERSION, NUMBERS, OPSET, import_onnx

LENGTHS = "lengths"  # the input, int64
Size = int | str  # of an axis, or its name


class Value(NamedTuple):
    """A value of the graph: its name, and the sizes of its axes."""

    name: str
    shape: tuple[Size, ...]


class Builder:
    """Collects nodes, weights, inputs and outputs.

    Parameters
    ----------
    dtype : numpy.dtype
        Of all real numbers.
    lengths, states : bool
        Whether recurrent layers read the lengths of sequences and their initial states.
    opset : int
        Version of the operators.
    reserved : collection of str
        Names of inputs and outputs that no other value may have.
    """

    def __init__(
        self,
        dtype: np.dtype[Any],
        lengths: bool = False,
        states: bool = False,
        opset: int = OPSET,
        reserved: Collection[str] = (),
    ) -> None:
        self._onnx = import_onnx()
        self.dtype, self.states, self.opset = dtype, states, opset
        self._reserved = reserved
        self._lengths: str | None = "" if lengths else None
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._results: list[Any] = []
        self._names: set[str] = set()

    def node(
        self, op: str, inputs: Sequence[str], path: str = "", count: int = 1, **attributes: Any
    ) -> list[str]:
        """Add a node; return the names of its outputs.

        Parameters
        ----------
        op : str
        inputs : sequence of str
            Names; empty for one that is left out.
        path : str
            The module's place, from which the node gets its name.
        count : int
            Number of outputs.
        **attributes : Any
            Those of the operator.
        """
        name = self._free("/".join(["", *filter(None, path.split(".")), op]))
        outputs = [f"{name}_output_{n}" for n in range(count)]
        made = self._onnx.helper.make_node(op, list(inputs), outputs, name=name, **attributes)
        self._nodes.append(made)
        return outputs

    def _free(self, name: str) -> str:
        """A name like this one that no node has."""
        unique, n = name, 0
        while unique in self._names or any(
            other.startswith(f"{unique}_output_") for other in self._reserved
        ):
            n += 1
            unique = f"{name}_{n}"
        self._names.add(unique)
        return unique

    def weight(self, name: str, array: np.ndarray) -> str:
        """Add a constant array; return its name. A name that is there already stays."""
        if name not in self._weights:
            whole = np.ascontiguousarray(array).reshape(np.shape(array))
            self._weights[name] = self._onnx.numpy_helper.from_array(whole, name)
        return name

    def integers(self, *values: int) -> str:
        """Add a vector of integers; return its name."""
        return self.weight(f"ints_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def input(self, name: str, shape: Sequence[Size], dtype: np.dtype[Any] | None = None) -> Value:
        """Add an input, by default of real numbers."""
        self._inputs.append(self._described(name, shape, dtype or self.dtype))
        return Value(name, tuple(shape))

    def lengths(self, batch: Size) -> str:
        """The lengths of sequences as recurrent nodes take them; empty where they have none."""
        if self._lengths == "":
            given = self.input(LENGTHS, (batch,), np.dtype(np.int64))
            (self._lengths,) = self.node("Cast", [given.name], to=6)
        return self._lengths or ""

    def port(self, port: Port) -> None:
        """Add an input of a graph that has been read."""
        self._inputs.append(self._described(port.name, port.shape, port.dtype))

    def output(self, value: Value, name: str) -> None:
        """Make a value an output under this name."""
        self.result(value.name, Port(name, self.dtype, value.shape))

    def result(self, value: str, port: Port) -> None:
        """Make a value an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [port.name]))
        self._results.append(self._described(port.name, port.shape, port.dtype))

    def _described(
        self, name: str, shape: Sequence[Size | None] | None, dtype: np.dtype[Any]
    ) -> Any:
        sizes = None if shape is None else list(shape)
        return self._onnx.helper.make_tensor_value_info(name, NUMBERS[dtype], sizes)

    def branch(self, write: Callable[[], Sequence[str]]) -> Any:
        """A graph of the nodes that a function adds; it returns the names of the results."""
        outer, self._nodes = self._nodes, []
        names = write()
        results = [self._onnx.helper.make_empty_tensor_value_info(name) for name in names]
        graph = self._onnx.helper.make_graph(self._nodes, "branch", [], results)
        self._nodes = outer
        return graph

    def model(self, metadata: Mapping[str, str]) -> Any:
        """The whole as a ModelProto."""
        helper, weights = self._onnx.helper, list(self._weights.values())
        graph = helper.make_graph(self._nodes, "fastseq", self._inputs, self._results, weights)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=IR_VERSION if self.opset <= OPSET else NEWER_IR_VERSION,
            producer_name="fastseq",
            producer_version=__version__,
        )
        helper.set_model_props(model, dict(metadata))
        return model
