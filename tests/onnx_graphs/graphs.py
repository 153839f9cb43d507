"""Small ONNX models: made by hand, exported, and run by others."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from fastseq.onnx import export, load  # noqa: E402

KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE,
         np.dtype(np.int64): TensorProto.INT64, np.dtype(np.int32): TensorProto.INT32,
         np.dtype(np.bool_): TensorProto.BOOL}  # fmt: skip


def info(name, array=None):
    """An input or output: of the type and rank of an array, by default of any floats."""
    if array is None:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_tensor_value_info(name, KINDS[array.dtype], [None] * array.ndim)


def model(nodes, inputs, outputs, opset=17, **constants):
    """A ModelProto of these nodes; `inputs` are arrays by name, `outputs` names."""
    graph = helper.make_graph(
        nodes, "test",
        [info(name, array) for name, array in inputs.items()],
        [info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def loaded(proto, folder):
    """The module of a ModelProto."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return load(path)


def runtime(path):
    """onnxruntime's answer to a file: a function of arrays by name."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda **inputs: session.run(None, inputs)


def round_trip(module, folder, **options):
    """Export a module and load it again."""
    path = folder / "model.onnx"
    export(module, path, **options)
    return load(path)


def flat(result):
    """All arrays of a layer's result, in order."""
    if isinstance(result, tuple):
        return [array for part in result for array in flat(part)]
    return [result]


def agree(got, expected, dtype=np.float32):
    """Whether two lists of arrays have the same shapes and values."""
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    got, expected = list(got), list(expected)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=10 * tolerance, atol=tolerance)
