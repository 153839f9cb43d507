"""The side of onnxruntime: one recurrent layer of `fastseq.nn` as an ONNX model."""

from collections.abc import Callable, Mapping

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from fastseq import nn

# Operator, and the gates of PyTorch in the order of ONNX.
OPERATORS = {"rnn_tanh": ("RNN", (0,)), "lstm": ("LSTM", (0, 3, 1, 2)), "gru": ("GRU", (1, 0, 2))}
OPSET, IR_VERSION = 17, 9


def session(layer: nn.RNN | nn.LSTM | nn.GRU, threads: int) -> onnxruntime.InferenceSession:
    """Build a session with the layer's weights; its inputs are x, h0 and, for an LSTM, c0."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        _model(layer).SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )


def _model(layer: nn.RNN | nn.LSTM | nn.GRU):
    operator, order = OPERATORS[layer.cell]
    weights = layer.state_dict()

    def reordered(name: str) -> np.ndarray:
        blocks = np.split(weights[name], len(order))
        return np.concatenate([blocks[n] for n in order])

    arrays = {
        "W": reordered("weight_ih_l0"),
        "R": reordered("weight_hh_l0"),
        "B": np.concatenate([reordered("bias_ih_l0"), reordered("bias_hh_l0")]),
    }
    states = ["h", "c"] if layer.cell == "lstm" else ["h"]
    options = {"linear_before_reset": 1} if layer.cell == "gru" else {}
    node = helper.make_node(
        operator,
        ["x", *arrays, "", *(f"{s}0" for s in states)],
        ["y", *(f"{s}n" for s in states)],
        hidden_size=layer.hidden_size, **options,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], operator,
        [_float("x", 3), *(_float(f"{s}0", 3) for s in states)],
        [_float("y", 4), *(_float(f"{s}n", 3) for s in states)],
        [numpy_helper.from_array(array[None], name) for name, array in arrays.items()],
    )  # fmt: skip
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def _float(name: str, ndim: int):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * ndim)


def plain_call(
    runtime: onnxruntime.InferenceSession, inputs: Mapping[str, np.ndarray]
) -> Callable[[], list[np.ndarray]]:
    """The usual call: arrays in, new arrays out."""
    return lambda: runtime.run(None, inputs)


def bound_call(
    runtime: onnxruntime.InferenceSession, inputs: Mapping[str, np.ndarray]
) -> Callable[[], list[onnxruntime.OrtValue]]:
    """A call with inputs bound once and outputs left in onnxruntime's own memory."""
    binding = runtime.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for output in runtime.get_outputs():
        binding.bind_output(output.name)

    def call() -> list[onnxruntime.OrtValue]:
        runtime.run_with_iobinding(binding)
        return binding.get_outputs()

    return call
