"""From modules and language models to files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..lm import LanguageModel
from ..storage.files import atomic_file
from .builder import Builder, Value
from .graph import GraphModule
from .graph_export import graph
from .language_model import language_model
from .modules import (
    checked_shape,
    default_shape,
    dtype_of,
    known,
    leaves,
    recurrent_layers,
    root_name,
    write,
)
from .package import OnnxError

MAX_BYTES = (1 << 31) - 1  # of a protobuf message


def export(
    module: nn.Module,
    path: str | os.PathLike[str],
    *,
    lengths: bool = False,
    states: bool = False,
    input_shape: Sequence[int | str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module as an ONNX model, which computes what the module does in eval mode.

    A recurrent layer becomes one node for each of its layers, with both directions in it. Dropout
    is written, so that `load` finds it, and acts in training only. The model has version 17 of
    the operators.

    The inputs are ``x`` (or ``ids``, int64, where an `Embedding` comes first), then ``lengths``
    and the initial states; the output is ``output``. Of a recurrent layer alone the initial states
    are ``h0`` and ``c0``, and the final states ``h_n`` and ``c_n`` are further outputs; inside a
    `Sequential` their names begin with the layer's place, as in ``1.h0``.

    A `GraphModule` keeps inputs, outputs and the version of its operators.

    A language model becomes one step: inputs ``ids`` (B,), ``h`` and for an LSTM ``c`` of shape
    (L, B, H); outputs ``log_probs`` (B, V), ``h_n`` and ``c_n``. The model's metadata hold, as
    JSON, its ``vocabulary``, its configuration ``model``, the ``start_token`` that is read before
    a text, and, for a model that has learnt one, the state ``start`` before that token.

    Parameters
    ----------
    module : Module
        An `RNN`, `LSTM`, `GRU` or another layer of `fastseq.nn`, a `Sequential` of them, a
        `LanguageModel`, or what `load` has returned, with its present weights.
    path : path-like
        File to write.
    lengths : bool
        Whether the model reads the lengths of the sequences in a batch, (B,), int64.
    states : bool
        Whether the model reads the initial states of recurrent layers; zeros otherwise. Those of
        layers inside a `Sequential` come out, too.
    input_shape : sequence of (int or str), optional
        Sizes of the input's axes, a name for one that is open. By default the recurrent layers
        tell: ("time", "batch", I), or ("batch", "time", I) with batch_first; without any it is
        ("batch", in_features).
    metadata : mapping of str to str, optional
        Further entries for the model's metadata.

    Raises
    ------
    ImportError
        The package onnx is missing.
    OnnxError
        A module that cannot be written, by name.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import fastseq.onnx
    >>> from fastseq import nn
    >>> layer = nn.LSTM(3, 4, num_layers=2, batch_first=True)
    >>> fastseq.onnx.export(layer, "lstm.onnx", lengths=True, states=True)
    >>> for port in fastseq.onnx.load("lstm.onnx").inputs:
    ...     print(port.name, port.dtype, port.shape)
    x float32 ('batch', 'time', 3)
    lengths int64 ('batch',)
    h0 float32 (2, 'batch', 4)
    c0 float32 (2, 'batch', 4)
    """
    if isinstance(module, LanguageModel):
        if lengths or states or input_shape is not None:
            raise OnnxError("lengths, states, input_shape: a language model takes none of them")
        b, facts = language_model(module)
        save(b.model(facts | dict(metadata or {})), path)
        return
    if isinstance(module, GraphModule):
        if lengths or states or input_shape is not None:
            raise OnnxError("lengths, states, input_shape: a graph keeps the inputs that it has")
        save(graph(module).model(module.metadata | dict(metadata or {})), path)
        return
    if not isinstance(module, nn.Module):
        kind = type(module)
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        raise TypeError(f"module: expected a fastseq.nn.Module, got {name}")
    b = _module(module, lengths, states, input_shape)
    save(b.model(dict(metadata or {})), path)


def _module(
    module: nn.Module, lengths: bool, states: bool, input_shape: Sequence[int | str] | None
) -> Builder:
    known(module, root_name(module))
    if (lengths or states) and not recurrent_layers(module):
        raise OnnxError("lengths, states: expected a recurrent layer in the module")
    b = Builder(dtype_of(module), lengths, states)
    shape = default_shape(module) if input_shape is None else checked_shape(module, input_shape)
    if isinstance(leaves(module)[0], nn.Embedding):
        x = b.input("ids", shape, np.dtype(np.int64))
    else:
        x = b.input("x", shape)
    made: Any = write(b, module, root_name(module), x)
    if isinstance(made, Value):
        b.output(made, "output")
        return b
    output, finals = made
    b.output(output, "output")
    for name, value in zip("hc", (finals,) if isinstance(finals, Value) else finals, strict=False):
        b.output(value, f"{name}_n")
    return b


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a ModelProto to a file that appears whole or not at all."""
    if model.ByteSize() > MAX_BYTES:
        raise OnnxError(
            f"{os.fspath(path)}: expected less than 2 GB, got {model.ByteSize():,} bytes"
        )
    with atomic_file(path) as file:
        file.write(model.SerializeToString())
