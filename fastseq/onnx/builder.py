"""A graph that is being written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._version import __version__
from .package import IR_VERSION, NUMBERS, OPSET, import_onnx

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
    """

    def __init__(self, dtype: np.dtype[Any], lengths: bool = False, states: bool = False) -> None:
        self._onnx = import_onnx()
        self.dtype, self.states = dtype, states
        self._lengths: str | None = "" if lengths else None
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._results: list[tuple[Value, str]] = []  # value, name of the output
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
        while unique in self._names:
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
            given = self.input("lengths", (batch,), np.dtype(np.int64))
            (self._lengths,) = self.node("Cast", [given.name], to=6)
        return self._lengths or ""

    def output(self, value: Value, name: str) -> None:
        """Make a value an output under this name."""
        self._results.append((value, name))

    def _described(self, name: str, shape: Sequence[Size], dtype: np.dtype[Any]) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, NUMBERS[dtype], list(shape))

    def model(self, metadata: Mapping[str, str]) -> Any:
        """The whole as a ModelProto, which ONNX's checker has accepted."""
        helper = self._onnx.helper
        for value, name in self._results:
            self._nodes.append(helper.make_node("Identity", [value.name], [name]))
        outputs = [self._described(name, value.shape, self.dtype) for value, name in self._results]
        weights = list(self._weights.values())
        graph = helper.make_graph(self._nodes, "fastseq", self._inputs, outputs, weights)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="fastseq",
            producer_version=__version__,
        )
        helper.set_model_props(model, dict(metadata))
        return model
