"""A graph that has been read is written back, with the present weights of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import nn
from .builder import Builder
from .graph import GraphModule
from .modules import layer_norm
from .package import import_onnx
from .rnn_export import Rnn, rnn_node
from .steps import NONE, Branch, Call, LayerStep, RecurrentStep, Step
from .table import CONTEXT


def graph(module: GraphModule) -> Builder:
    """The builder of a whole graph, with the inputs, outputs and operators that it has had."""
    names = {port.name for port in (*module.inputs, *module.outputs)}
    b = Builder(np.dtype(np.float32), opset=module.graph.opset, reserved=names)
    writer = _Writer(b, module)
    for port, slot in zip(module.inputs, module.graph.inputs, strict=True):
        b.port(port)
        writer.names[slot] = port.name
    writer.write(module.graph.steps)
    for port, slot in zip(module.outputs, module.graph.outputs, strict=True):
        b.result(writer.name(slot), port)
    return b


class _Writer:
    """Writes steps; `names` are those of values by slot."""

    def __init__(self, b: Builder, module: GraphModule) -> None:
        self._b, self._module = b, module
        self.names: dict[int, str] = {}

    def name(self, slot: int) -> str:
        """The name of a value; a constant is added when it is first used."""
        if slot == NONE:
            return ""
        constants = self._module.graph.constants
        if slot not in self.names and slot in constants:
            self.names[slot] = self._b.weight(f"constant_{slot}", constants[slot])
        return self.names[slot]

    def write(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Branch):
                made = self._branch(step)
            elif isinstance(step, Call):
                made = self._call(step)
            elif isinstance(step, RecurrentStep):
                made = self._recurrent(step)
            else:
                assert isinstance(step, LayerStep)
                made = [self._layer(step)]
            self.names.update(zip(step.outputs, made, strict=False))

    def _call(self, step: Call) -> list[str]:
        attributes = {
            name: import_onnx().numpy_helper.from_array(value)
            if isinstance(value, np.ndarray)
            else value
            for name, value in step.attributes.items()
            if name not in CONTEXT
        }
        inputs = [self.name(slot) for slot in step.inputs]
        return self._b.node(step.name, inputs, "", len(step.outputs), **attributes)

    def _branch(self, step: Branch) -> list[str]:
        def results(body: list[Step]) -> list[str]:
            self.write(body)
            return [self.names[slot] for slot in step.outputs]

        otherwise, then = (self._b.branch(partial(results, body)) for body in step.bodies)
        condition = [self.name(slot) for slot in step.inputs]
        return self._b.node(
            "If", condition, "", len(step.outputs), then_branch=then, else_branch=otherwise
        )

    def _layer(self, step: LayerStep) -> str:
        """A layer with one input."""
        b, path, x = self._b, step.child, self.name(step.inputs[0])
        layer: Any = step.layer(self._module)
        if isinstance(layer, nn.Embedding):
            return b.node("Gather", [b.weight(f"{path}.weight", layer.weight.data), x], path)[0]
        if isinstance(layer, nn.LayerNorm):
            return layer_norm(b, layer, path, x)
        if isinstance(layer, nn.Dropout):
            if b.opset < 12:
                return b.node("Dropout", [x], path, ratio=layer.p)[0]
            ratio = b.weight(f"{path}.ratio", np.array(layer.p, np.float32))
            return b.node("Dropout", [x, ratio], path)[0]
        (y,) = b.node("MatMul", [x, b.weight(f"{path}.weight", layer.weight.data.T)], path)
        if layer.bias is not None:
            (y,) = b.node("Add", [y, b.weight(f"{path}.bias", layer.bias.data)], path)
        return y

    def _recurrent(self, step: RecurrentStep) -> list[str]:
        """A recurrent node with steps first; transposes around it where sequences came first."""
        b, path, layer = self._b, step.child, step.layer(self._module)
        x, lengths, *states = (self.name(slot) for slot in step.inputs)

        def swapped(value: str, *perm: int) -> str:
            if not (step.batch_first and value):
                return value
            return b.node("Transpose", [value], path, perm=perm)[0]

        rnn = Rnn(layer.cell, layer.state_dict(), 1, layer.hidden_size, layer.bidirectional, 0.0,
                  path)  # fmt: skip
        turned = "bidirectional" if layer.bidirectional else "forward"
        inputs = [swapped(x, 1, 0, 2), lengths, *(swapped(state, 1, 0, 2) for state in states)]
        y, *finals = rnn_node(b, rnn, 0, inputs, "reverse" if step.reverse else turned)
        return [swapped(y, 2, 0, 1, 3), *(swapped(final, 1, 0, 2) for final in finals)]
