"""The table of modules that can be written: a function for each.

A function takes the builder, the module, its place and the value that it reads, and returns the
value that it makes. A recurrent layer makes a pair: its output, and its final states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from .builder import LENGTHS, Builder, Value
from .package import OnnxError
from .rnn_export import Rnn, dropout, export_rnn, output_shape

Made = Any  # a Value, or (Value, Value or tuple of Value) of a recurrent layer
Writer = Callable[[Builder, Any, str, Value], Made]


def write(b: Builder, module: nn.Module, path: str, x: Made) -> Made:
    """Add a module's nodes.

    Parameters
    ----------
    b : Builder
    module : Module
    path : str
        Its place in the whole.
    x : Value
        What it reads.
    """
    name = known(module, path)
    if not isinstance(x, Value) and name not in TAKES_STATES:
        raise OnnxError(
            f"{path}: {name}: expected one input, got the output and the final states of the "
            "recurrent layer before it; put Select(0) between them"
        )
    return WRITERS[name](b, module, path, x)


def known(module: nn.Module, path: str) -> str:
    """The name of a module's class, which must be in the table."""
    name = type(module).__name__
    if getattr(nn, name, None) is not type(module) or name not in WRITERS:
        raise OnnxError(
            f"{path or 'module'}: {name} cannot be exported; expected {', '.join(WRITERS)}"
        )
    return name


def _sequential(b: Builder, module: Any, path: str, x: Made) -> Made:
    for name, child in module.named_children():
        x = write(b, child, ".".join(filter(None, [path, name])), x)
    return x


def _linear(b: Builder, module: Any, path: str, x: Value) -> Value:
    weight = b.weight(f"{path}.weight", module.weight.data.T)
    (y,) = b.node("MatMul", [x.name, weight], path)
    if module.bias is not None:
        (y,) = b.node("Add", [y, b.weight(f"{path}.bias", module.bias.data)], path)
    return Value(y, (*x.shape[:-1], module.out_features))


def _embedding(b: Builder, module: Any, path: str, x: Value) -> Value:
    weight = b.weight(f"{path}.weight", module.weight.data)
    (y,) = b.node("Gather", [weight, x.name], path)
    return Value(y, (*x.shape, module.embedding_dim))


def _dropout(b: Builder, module: Any, path: str, x: Value) -> Value:
    return Value(dropout(b, x.name, module.p, path), x.shape)


def _elementwise(op: str) -> Writer:
    def write_node(b: Builder, module: Any, path: str, x: Value) -> Value:
        return Value(b.node(op, [x.name], path)[0], x.shape)

    return write_node


def _recurrent(b: Builder, module: Any, path: str, x: Value) -> Made:
    """Output, and h_n or (h_n, c_n)."""
    rnn = Rnn(
        module.cell, module.state_dict(), module.num_layers, module.hidden_size,
        module.bidirectional, module.dropout, path,
    )  # fmt: skip
    batch = x.shape[0 if module.batch_first else 1]
    has_c = isinstance(module, nn.LSTM)
    nested = "" if path == root_name(module) else f"{path}."
    shapes = [(rnn.num_layers * rnn.D, batch, rnn.projected)]
    shapes += [(rnn.num_layers * rnn.D, batch, rnn.hidden_size)] * has_c
    lengths, states = b.lengths(batch), []
    if b.states:
        states = [b.input(f"{nested}{n}0", s) for n, s in zip("hc", shapes, strict=False)]
    steps = _swapped(b, x.name, module, path)
    y, finals = export_rnn(b, rnn, steps, lengths, states)
    values = tuple(map(Value, finals, shapes))
    if b.states and nested:
        for name, value in zip("hc", values, strict=False):
            b.output(value, f"{nested}{name}_n")
    output = Value(_swapped(b, y, module, path), output_shape(rnn, x.shape))
    return output, values if has_c else values[0]


def _along_axis(op: str) -> Writer:
    def write_node(b: Builder, module: Any, path: str, x: Value) -> Value:
        return Value(b.node(op, [x.name], path, axis=module.dim)[0], x.shape)

    return write_node


def _layer_norm(b: Builder, module: Any, path: str, x: Value) -> Value:
    return Value(layer_norm(b, module, path, x.name), x.shape)


def layer_norm(b: Builder, module: Any, path: str, x: str) -> str:
    """The node of a `LayerNorm`, which always has a gain."""
    ones = np.ones(module.normalized_shape, module.dtype)
    gain = ones if module.weight is None else module.weight.data
    inputs = [x, b.weight(f"{path}.weight", gain)]
    if module.bias is not None:
        inputs.append(b.weight(f"{path}.bias", module.bias.data))
    axis = -len(module.normalized_shape)
    return b.node("LayerNormalization", inputs, path, axis=axis, epsilon=module.eps)[0]


# -- after a recurrent layer -----------------------------------------------------------------


def _select(b: Builder, module: Any, path: str, made: Made) -> Made:
    if isinstance(made, Value) or not -len(made) <= module.index < len(made):
        raise OnnxError(f"{path}: Select: expected a tuple with an element {module.index}")
    return made[module.index]


def _last_step(b: Builder, module: Any, path: str, made: Made) -> Value:
    """The last step of all sequences, or, where there are lengths, that of each."""
    y: Value = made if isinstance(made, Value) else made[0]
    time, batch = (1, 0) if module.batch_first else (0, 1)
    shape = y.shape[batch], *y.shape[2:]
    if not b.lengths(y.shape[batch]):
        last = b.weight("last", np.array(-1, np.int64))
        return Value(b.node("Gather", [y.name, last], path, axis=time)[0], shape)
    steps = b.node("Sub", [LENGTHS, b.weight("one", np.array(1, np.int64))], path)
    (rows,) = b.node("Unsqueeze", [*steps, b.integers(time, 2)], path)
    (places,) = b.node("Expand", [rows, b.integers(1, 1, int(y.shape[2]))], path)
    (picked,) = b.node("GatherElements", [y.name, places], path, axis=time)
    return Value(b.node("Squeeze", [picked, b.integers(time)], path)[0], shape)


def _final_state(b: Builder, module: Any, path: str, made: Made) -> Value:
    """The topmost layer's states, the directions side by side."""
    if isinstance(made, Value):
        raise OnnxError(f"{path}: FinalState: expected the output and the state of a layer")
    h: Value = made[1] if isinstance(made[1], Value) else made[1][0]
    D = 1 + module.bidirectional
    top = [b.weight(f"state_{n}", np.array(n, np.int64)) for n in range(-D, 0)]
    states = [b.node("Gather", [h.name, n], path)[0] for n in top]
    joined = b.node("Concat", states, path, axis=-1)[0] if D == 2 else states[0]
    return Value(joined, (h.shape[1], D * int(h.shape[2])))


def _swapped(b: Builder, x: str, module: Any, path: str) -> str:
    """A sequence from the layer's layout to steps first, or back."""
    return b.node("Transpose", [x], path, perm=[1, 0, 2])[0] if module.batch_first else x


def root_name(module: nn.Module) -> str:
    """The place of a module that is the whole: none for a container, else its class's name."""
    return "" if isinstance(module, nn.Sequential) else type(module).__name__.lower()


WRITERS: dict[str, Writer] = {
    "Sequential": _sequential,
    "RNN": _recurrent,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "Embedding": _embedding,
    "Linear": _linear,
    "Dropout": _dropout,
    "ReLU": _elementwise("Relu"),
    "Tanh": _elementwise("Tanh"),
    "Sigmoid": _elementwise("Sigmoid"),
    "Softmax": _along_axis("Softmax"),
    "LogSoftmax": _along_axis("LogSoftmax"),
    "LayerNorm": _layer_norm,
    "Select": _select,
    "LastStep": _last_step,
    "FinalState": _final_state,
}
TAKES_STATES = {"Sequential", "Select", "LastStep", "FinalState"}


def leaves(module: nn.Module) -> list[nn.Module]:
    """The layers of a module in order, without containers."""
    if isinstance(module, nn.Sequential):
        return [leaf for child in module for leaf in leaves(child)]
    return [module]


def recurrent_layers(module: nn.Module) -> list[Any]:
    """The recurrent layers among the leaves."""
    return [leaf for leaf in leaves(module) if isinstance(leaf, nn.RNN | nn.LSTM | nn.GRU)]


def checked_shape(module: nn.Module, shape: Sequence[int | str]) -> tuple[int | str, ...]:
    """A given shape of the input; before recurrent layers it has as many axes as theirs."""
    if recurrent_layers(module) and len(shape) != len(default_shape(module)):
        raise OnnxError(
            f"input_shape: expected {len(default_shape(module))} axes like "
            f"{default_shape(module)}, got {tuple(shape)}"
        )
    return tuple(shape)


def default_shape(module: nn.Module) -> tuple[Any, ...]:
    """The input's sizes, as far as the layers tell them.

    The first layer that has a size gives that of the last axis; a recurrent layer gives the axes
    before it.
    """
    layers: list[Any] = leaves(module)
    recurrent = recurrent_layers(module)
    outer: tuple[str, ...] = ("batch",)
    if recurrent:
        outer = ("batch", "time") if recurrent[0].batch_first else ("time", "batch")
    for layer in layers:
        if isinstance(layer, nn.Embedding):
            return outer
        for name in ("input_size", "in_features"):
            if hasattr(layer, name):
                return *outer, getattr(layer, name)
    raise OnnxError("input_shape: expected it, since no layer has a size")


def dtype_of(module: nn.Module) -> np.dtype[Any]:
    """The one type of all parameters; float32 without any."""
    found = {parameter.dtype for parameter in module.parameters()}
    if len(found) > 1:
        raise OnnxError("module: expected parameters of one dtype, got float32 and float64")
    return found.pop() if found else np.dtype(np.float32)
