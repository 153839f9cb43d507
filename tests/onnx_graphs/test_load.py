"""Graphs of others: each is computed as ONNX says, or refused by name."""

import importlib
import pickle
import pkgutil
from contextlib import suppress
from copy import deepcopy

import hypothesis
import numpy as np
import pytest
from graphs import agree, flat, helper, info, loaded, model, numpy_helper, onnx, runtime
from hypothesis import strategies as st

from fastseq import nn
from fastseq.onnx import OnnxError, export, load
from fastseq.onnx.table import OPERATORS

# -- ONNX's own cases --------------------------------------------------------------------------

RECURRENT = {"LSTM", "GRU", "RNN"}
REFUSED = [
    "ceil_mode: expected 0", "select_last_index: expected 0", "reduction: expected none",
    "outputs: expected 1", "no identity", "mode: expected constant", "is not supported",
    "expected a tensor of numbers", "expected a constant", "opset: expected 7 to",
    "without the mask",
]  # fmt: skip


def cases(operators):
    """ONNX's cases of graphs that have no other operators than these."""
    with np.errstate(all="ignore"):
        from onnx.backend.test.case import node

        lower = {name.lower() for name in operators}
        for found in pkgutil.iter_modules(node.__path__):  # all of them take ten seconds
            if found.name.replace("_", "").removesuffix("op") in lower:
                importlib.import_module(f"{node.__name__}.{found.name}")
    return [case for case in node._NodeTestCases
            if {n.op_type for n in case.model.graph.node} <= operators]  # fmt: skip


def with_constant_weights(proto, arrays):
    """A model and its inputs; weights of recurrent nodes become constants, as in files."""
    proto, inputs = deepcopy(proto), {}
    given = list(proto.graph.input)
    del proto.graph.input[:]
    recurrent = proto.graph.node[-1].op_type in RECURRENT
    for value, array in zip(given, arrays, strict=True):
        if recurrent and value.name in "WRBP":
            proto.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            proto.graph.input.append(value)
            inputs[value.name] = np.asarray(array)
    return proto, inputs


def results(found, folder):
    """Names of cases that give what ONNX says, and messages by the names of those refused."""
    passed, refused = set(), {}
    for case in found:
        arrays, outputs = case.data_sets[0]
        if any(np.asarray(a).dtype == object or isinstance(a, list) for a in [*arrays, *outputs]):
            continue  # sequences, and types that NumPy lacks
        proto, inputs = with_constant_weights(case.model, arrays)
        try:
            got = flat(loaded(proto, folder)(**inputs))
        except OnnxError as error:
            refused[case.name] = str(error)
            continue
        for a, b in zip(got, outputs, strict=True):
            assert a.dtype == b.dtype, case.name
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=case.name)
        passed.add(case.name)
    return passed, refused


def test_cases_of_recurrent_layers_pass_or_are_refused_by_name(tmp_path):
    passed, refused = results(cases(RECURRENT), tmp_path)
    assert len(passed) >= 11
    peepholes = refused.pop("test_lstm_with_peepholes")
    assert "P: peepholes cannot be expressed" in peepholes
    assert all("gru" in name for name in refused)
    assert all("linear_before_reset: expected 1" in text for text in refused.values())


@pytest.mark.slow
def test_cases_of_operators_pass_or_are_refused_by_name(tmp_path):
    passed, refused = results(cases(set(OPERATORS) | {"Dropout", "If", "Constant"}), tmp_path)
    assert len(passed) > 500
    assert not {k: v for k, v in refused.items() if not any(text in v for text in REFUSED)}


# -- recurrent nodes ---------------------------------------------------------------------------

INPUTS, H = 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(op, D=1, given=("W", "R"), outputs=("Y",), dtype=np.float32, opset=17, **attributes):
    """A model of one recurrent node."""
    rng = np.random.default_rng(0)
    shapes = {"W": (D, GATES[op] * H, INPUTS), "R": (D, GATES[op] * H, H), "B": (D, 8 * H),
              "P": (D, 3 * H)}  # fmt: skip
    weights = {n: rng.standard_normal(s).astype(dtype) for n, s in shapes.items() if n in given}
    names = ["X", "W", "R", "B" if "B" in given else "", "lengths" if "lengths" in given else "",
             "h0" if "h0" in given else "", "c0" if "c0" in given else ""]  # fmt: skip
    names = [*names, "P"] if "P" in given else names
    while not names[-1]:
        names.pop()
    attributes.setdefault("hidden_size", H)
    if op == "GRU":
        attributes.setdefault("linear_before_reset", 1)
    node = helper.make_node(op, names, list(outputs), name="rnn", **attributes)
    sample = {"X": np.zeros((1, 1, INPUTS), dtype)}
    sample |= {n: np.zeros((1, 1, 1), dtype) for n in ("h0", "c0") if n in given}
    if "lengths" in given:
        sample["lengths"] = np.zeros(1, np.int32)
    return model([node], sample, [name for name in outputs if name], opset, **weights)


@pytest.mark.parametrize(("op", "options", "message"), [
    ("LSTM", {"given": "WRBP"}, "LSTM node 'rnn': P: peepholes cannot be expressed"),
    ("LSTM", {"input_forget": 1}, "input_forget: expected 0, got 1"),
    ("LSTM", {"clip": 3.0}, "clip: expected none, got 3"),
    ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]},
     "activations: expected Sigmoid, Tanh, Tanh, got Sigmoid, Tanh, Relu"),
    ("GRU", {"linear_before_reset": 0}, "linear_before_reset: expected 1, got 0"),
    ("GRU", {"activations": ["HardSigmoid", "Tanh"]}, "activations: expected Sigmoid, Tanh, got"),
    ("RNN", {"activations": ["Tanh", "Relu"], "D": 2, "direction": "bidirectional"},
     "activations: expected Tanh, Tanh, got Tanh, Relu"),
    ("RNN", {"direction": "sideways"}, "direction: expected one of forward, reverse"),
    ("RNN", {"layout": 2}, "layout: expected one of 0, 1, got 2"),
    ("RNN", {"hidden_size": 5}, "hidden_size: expected 4 by the shape"),
    ("RNN", {"D": 2}, "W: expected shape"),
    ("RNN", {"output_sequence": 1}, "attribute 'output_sequence' is not supported"),
    ("GRU", {"dtype": np.int32}, "W: expected float32 or float64"),
    ("LSTM", {"given": "R"}, "value 'W' is used before"),
    ("LSTM", {"opset": 6}, "opset: expected 7 to 28, got 6"),
    ("LSTM", {"opset": 29}, "opset: expected 7 to 28, got 29"),
])  # fmt: skip
def test_what_a_recurrent_node_cannot_have_is_named(op, options, message, tmp_path):
    with pytest.raises(OnnxError, match=message) as caught:
        loaded(recurrent(op, **options), tmp_path)
    assert str(tmp_path / "model.onnx") in str(caught.value)


@pytest.mark.parametrize("opset", [7, 11, 14, 22])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("given", [("W", "R"), ("W", "R", "lengths"), ("W", "R", "h0", "c0"),
                                   ("W", "R", "h0"), ("W", "R", "lengths", "h0")])  # fmt: skip
@pytest.mark.parametrize("op", GATES)
def test_recurrent_nodes_are_those_of_onnxruntime(op, given, direction, opset, tmp_path, rng):
    given = [name for name in given if op == "LSTM" or name != "c0"]
    D = 1 + (direction == "bidirectional")
    outputs = ("Y", "Y_h", "Y_c") if op == "LSTM" else ("Y", "Y_h")
    proto = recurrent(op, D, given, outputs, opset=opset, direction=direction)
    inputs = {"X": rng.standard_normal((5, 3, INPUTS)), "h0": rng.standard_normal((D, 3, H)),
              "c0": rng.standard_normal((D, 3, H)), "lengths": np.array([2, 5, 1])}  # fmt: skip
    inputs = {name: array.astype(np.int32 if name == "lengths" else np.float32)
              for name, array in inputs.items() if name in ("X", *given)}  # fmt: skip
    module, expected = loaded(proto, tmp_path), runtime(tmp_path / "model.onnx")(**inputs)
    agree(module(**inputs), expected)
    export(module, tmp_path / "again.onnx")
    agree(runtime(tmp_path / "again.onnx")(**inputs), expected)


# -- graphs ------------------------------------------------------------------------------------


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


X = np.arange(12, dtype=np.float32).reshape(3, 4)


def branches(condition, **constants):
    """y = 2 · x where the condition holds, else x @ w + b, as a branch with its own values."""
    double = helper.make_graph([node("Add", "x x", "t")], "then", [], [info("t")])
    product = helper.make_graph(
        [node("MatMul", "x w", "p"), node("Add", "p b", "t")], "else", [], [info("t")],
        [numpy_helper.from_array(np.ones((4, 4), np.float32), "w")],
    )  # fmt: skip
    last = node("If", "condition", "y", then_branch=double, else_branch=product)
    bias = np.arange(4, dtype=np.float32)
    return model([*condition, last], {"x": X}, ["y"], b=bias, **constants)


@pytest.mark.parametrize("value", [True, False])
def test_a_branch_that_a_constant_chooses_is_inlined(value, tmp_path):
    module = loaded(branches([node("Not", "no", "condition")], no=np.array(not value)), tmp_path)
    assert len(module.graph.steps) == 1
    agree([module(X)], runtime(tmp_path / "model.onnx")(x=X))
    assert [type(layer) for _, layer in module.named_children()] == [nn.Linear] * (not value)


def test_a_branch_that_an_input_chooses_is_taken_at_run_time(tmp_path):
    rows = [node("Shape", "x", "s"), node("Gather", "s zero", "n"),
            node("Equal", "n three", "condition")]  # fmt: skip
    module = loaded(branches(rows, zero=np.array(0), three=np.array(3)), tmp_path).train()
    for x in (X, X[:2]):
        agree([module(x)], runtime(tmp_path / "model.onnx")(x=x))
    dy = np.ones((2, 4), np.float32)
    agree([module.backward(dy)], [np.full((2, 4), 4, np.float32)])  # through the product
    assert module.linear.bias.grad.tolist() == [2, 2, 2, 2]
    agree([module.backward(np.ones_like(X))], [np.full_like(X, 2)])


def test_constants_are_computed_once(tmp_path):
    nodes = [node("Transpose", "w", "wt"), node("Mul", "wt two", "v"), node("MatMul", "x v", "y")]
    module = loaded(model(nodes, {"x": X}, ["y"], w=X[:2], two=np.float32(2)), tmp_path)
    assert len(module.graph.steps) == 1
    agree([module(X)], [X @ (2 * X[:2].T)])
    assert module.linear.weight.shape == (2, 4)


def test_nodes_with_the_same_weights_share_a_layer(tmp_path):
    nodes = [node("MatMul", "x w", "a"), node("Add", "a b", "c"), node("Relu", "c", "d"),
             node("MatMul", "d w", "e"), node("Add", "b e", "y")]  # fmt: skip
    w, b = np.eye(4, dtype=np.float32) * 2, np.ones(4, np.float32)
    module = loaded(model(nodes, {"x": X}, ["y"], w=w, b=b), tmp_path).train()
    assert [name for name, _ in module.named_parameters()] == ["linear.weight", "linear.bias"]
    agree([module(X)], [4 * X + 3])
    module.backward(np.ones_like(X))
    agree([module.linear.bias.grad], [np.full(4, 3 + 3 * 2, np.float32)])


def test_a_module_can_be_copied_and_pickled(tmp_path, rng):
    export(nn.LSTM(INPUTS, H, bidirectional=True), tmp_path / "model.onnx")
    module = load(tmp_path / "model.onnx")
    x = rng.standard_normal((5, 2, INPUTS)).astype(np.float32)
    for other in (deepcopy(module), pickle.loads(pickle.dumps(module))):
        agree(other(x), module(x))
        other.lstm.weight_ih_l0.data += 1
        assert not np.allclose(other(x)[0], module(x)[0])


def test_what_has_been_read_and_trained_is_written_back(tmp_path):
    rows = [node("Shape", "x", "s"), node("Gather", "s zero", "n"),
            node("Equal", "n three", "condition")]  # fmt: skip
    proto = branches(rows, zero=np.array(0), three=np.array(3))
    proto.graph.node.extend([
        node("Dropout", "y", "d"), node("Slice", "d zeros ends", "/linear/MatMul_output_0"),
        node("ConstantOfShape", "s", "/z", value=numpy_helper.from_array(np.ones(1))),
    ])  # fmt: skip
    proto.graph.initializer.extend([numpy_helper.from_array(np.array([v] * 2), n)
                                    for n, v in (("zeros", 0), ("ends", 2))])  # fmt: skip
    proto.graph.output[0].name = "/linear/MatMul_output_0"
    module = loaded(proto, tmp_path)
    module.linear.weight.data *= 2
    module.linear.bias.data += 1
    export(module, tmp_path / "again.onnx", metadata={"trained": "yes"})
    again = load(tmp_path / "again.onnx")
    assert [name for name, _ in again.named_children()] == [
        "linear_1",
        "dropout",
    ]  # "linear" is taken
    assert again.metadata == {"trained": "yes"}
    for x in (X, X[:2]):
        for run in (again, lambda x: runtime(tmp_path / "again.onnx")(x=x)[0]):
            agree([run(x)], [module(x)])
    agree([module(X[:2])], [(2 * X[:2].sum(1, keepdims=True) + np.arange(1, 5))[:, :2]])
    with pytest.raises(OnnxError, match="a graph keeps the inputs that it has"):
        export(module, tmp_path / "again.onnx", lengths=True)


def test_a_layout_with_sequences_first_is_written_back_for_others(tmp_path, rng):
    proto = recurrent("LSTM", 2, ["W", "R", "h0", "c0"], ("Y", "Y_h", "Y_c"),
                      direction="bidirectional", layout=1)  # fmt: skip
    module = loaded(proto, tmp_path)
    inputs = {"X": rng.standard_normal((3, 5, INPUTS)), "h0": rng.standard_normal((3, 2, H)),
              "c0": rng.standard_normal((3, 2, H))}  # fmt: skip
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    expected = module(**inputs)
    assert [y.shape for y in expected] == [(3, 5, 2, H), (3, 2, H), (3, 2, H)]
    export(module, tmp_path / "again.onnx")
    agree(runtime(tmp_path / "again.onnx")(**inputs), expected)


@pytest.mark.parametrize(("nodes", "message"), [
    ([node("Einsum", "x", "y", equation="ij->ji")], "Einsum node 'y': this operator is not sup"),
    ([node("Relu", "x", "y", alpha=1.0)], "Relu node 'y': attribute 'alpha' is not supported"),
    ([node("Concat", "x x", "y")], "attribute 'axis' is missing"),
    ([node("Relu", "x x", "y")], "inputs: expected 1 to 1, got 2"),
    ([node("Relu", "z", "y")], "value 'z' is used before a node computes it"),
    ([node("Relu", "x", "z")], "value 'y' is used before a node computes it"),
    ([node("Relu", "x", "x"), node("Relu", "x", "y")], "value 'x' is computed twice"),
    ([node("Relu", "x", "many"), node("Relu", "x", "y")], "value 'many' is computed twice"),
    ([node("Relu", "x", "y"), node("Neg", "x", "y")], "value 'y' is computed twice"),
    ([node("Fancy", "x", "y", domain="com.me")], "operators of 'com.me' are not supported"),
    ([node("Dropout", "x", "y mask")], "without the mask"),
    ([node("ConstantOfShape", "huge", "y")], "expected at most .* MB, all memory"),
    ([node("Reshape", "huge huge", "y")], "Reshape node 'y'"),
    ([node("Tile", "many many", "y")], "expected at most"),
])  # fmt: skip
def test_what_a_graph_cannot_have_is_named(nodes, message, tmp_path):
    huge, many = np.full(3, 10**6, np.int64), np.array([10**12], np.int64)
    with pytest.raises(OnnxError, match=message):
        loaded(model(nodes, {"x": X}, ["y"], huge=huge, many=many), tmp_path)


def test_constants_that_grow_are_refused(tmp_path):
    """Each node doubles the constant before it."""
    nodes = [node("Concat", f"c{n} c{n}", f"c{n + 1}", axis=0) for n in range(60)]
    with pytest.raises(OnnxError, match="constants: expected at most 256 MB to compute"):
        loaded(model(nodes, {}, ["c60"], c0=X), tmp_path)


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "x: input is missing"),
    ([X, X], "expected at most 1 inputs, got 2"),
    ([X.tolist()], "x: expected a NumPy array, got list"),
    ([X.astype(np.float64)], "x: expected float32, got float64"),
    ([X[0]], r"x: expected shape \(\?, \?\), got \(4,\)"),
])  # fmt: skip
def test_wrong_inputs(arguments, message, tmp_path):
    module = loaded(model([node("Relu", "x", "y")], {"x": X}, ["y"]), tmp_path)
    with pytest.raises((TypeError, ValueError), match=message):
        module(*arguments)
    with pytest.raises(TypeError, match="z: no input; expected x"):
        module(X, z=X)


def test_a_node_that_fails_is_named_and_leaves_no_call_behind(tmp_path):
    nodes = [node("MatMul", "x w", "a"), helper.make_node("Reshape", ["a", "s"], ["y"], name="r")]
    proto = model(nodes, {"x": X}, ["y"], w=X.T, s=np.array([5, -1]))
    module = loaded(proto, tmp_path).train()
    with pytest.raises(OnnxError, match="Reshape node 'r': cannot reshape"):
        module(X)
    with pytest.raises(RuntimeError, match="no forward call"):
        module.linear.backward(X)


# -- files -------------------------------------------------------------------------------------


def small_file(path):
    layers = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2), nn.Dropout(0.5), nn.GRU(2, 2))
    export(layers, path, metadata={"a": "b"}, lengths=True)
    return path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"No model", b"\x08\x08", b"PK\x03\x04" + bytes(99)])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(
        OnnxError, match=r"model\.onnx: expected an ONNX model, got something else"
    ):
        load(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.onnx")


@hypothesis.settings(max_examples=150, suppress_health_check=[*hypothesis.HealthCheck])
@hypothesis.given(data=st.data())
def test_damaged_files_raise_one_kind_of_error(data, tmp_path):
    path = tmp_path / "model.onnx"
    content = bytearray(small_file(path))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([None, len(content) // 2]))
    path.write_bytes(content[:cut])
    with suppress(OnnxError):
        module = load(path)
        inputs = [np.zeros((2, 2)[: len(p.shape or ())], p.dtype) for p in module.inputs]
        with suppress(TypeError, ValueError):  # sizes and types that the damage has changed
            module(*inputs)


def external(tmp_path, **entries):
    """A product whose weight lies in a file beside the model."""
    (tmp_path / "weights").write_bytes(b"--" + X.tobytes())
    proto = model([node("MatMul", "w x", "y")], {"x": X.T}, ["y"], w=X)
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "weights", "offset": "2", **entries}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    return proto


def test_tensors_in_a_file_beside_the_model(tmp_path):
    agree([loaded(external(tmp_path), tmp_path)(X.T.copy())], [X @ X.T])


@pytest.mark.parametrize(("entries", "message"), [
    ({"location": "../weights"}, "location: expected a file beside the model, got '../weights'"),
    ({"location": "/etc/passwd"}, "location: expected a file beside the model, got"),
    ({"location": "link"}, "location: expected a file beside the model, .*link is none"),
    ({"location": "missing"}, "location: expected a file beside the model, .* is none"),
    ({"offset": "3"}, "expected 48 bytes at 3 of .*, which are not there"),
    ({"offset": "-1"}, "offset: expected a number of bytes, got '-1'"),
    ({"length": "47"}, "expected 48 bytes at 2"),
])  # fmt: skip
def test_tensors_elsewhere_are_refused(entries, message, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "weights")
    with pytest.raises(OnnxError, match=message):
        loaded(external(tmp_path, **entries), tmp_path)


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.dims.__setitem__(0, 4), "expected 16 values by its sizes"),
    (lambda t: t.dims.__setitem__(0, -3), "sizes of at least 0"),
    (lambda t: t.dims.extend([10**18, 10**18]), "values by its sizes"),
    (lambda t: (t.dims.extend([2**62, 0]), setattr(t, "raw_data", b"")), "are too large"),
    (lambda t: setattr(t, "data_type", 8), "type 8 of tensors is not supported"),
    (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "whole numbers of float32, got 47 bytes"),
])  # fmt: skip
def test_tensors_whose_sizes_lie_are_refused(change, message, tmp_path):
    proto = model([node("MatMul", "w x", "y")], {"x": X.T}, ["y"], w=X)
    change(proto.graph.initializer[0])
    with pytest.raises(OnnxError, match=f"w: .*{message}"):
        loaded(proto, tmp_path)
