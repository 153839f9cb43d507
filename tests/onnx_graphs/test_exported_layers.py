"""Layers written to ONNX give the same there, and the same when they are read back."""

import itertools

import numpy as np
import pytest
from graphs import agree, flat, onnx, round_trip, runtime

import fastseq.onnx
from fastseq import nn
from fastseq.onnx import OnnxError, export, load

T, B, INPUTS, H = 6, 3, 3, 4
LENGTHS = np.array([4, 6, 1])
CELLS = [
    (nn.LSTM, {}), (nn.LSTM, {"proj_size": 2}), (nn.GRU, {}), (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu"}),
]  # fmt: skip
OPTIONS = [
    dict(zip(("bidirectional", "num_layers", "bias", "batch_first"), values, strict=True))
    for values in itertools.product([False, True], [1, 2], [True, False], [False, True])
]
CALLS = list(itertools.product([False, True], [False, True]))  # lengths, states


def make(cell, options, dtype=np.float32):
    kind, own = cell
    return kind(INPUTS, H, **own, **options, dtype=dtype, seed=3).eval()


def arguments(layer, lengths, states, rng):
    """Arguments of the layer, and the same as the graph's inputs."""
    shape = (B, T, INPUTS) if layer.batch_first else (T, B, INPUTS)
    inputs = {"x": rng.standard_normal(shape).astype(layer.dtype)}
    K = layer.num_layers * (1 + layer.bidirectional)
    given = [rng.standard_normal((K, B, size)).astype(layer.dtype)
             for size in (layer.proj_size or H, H)[: 1 + (layer.cell == "lstm")]]  # fmt: skip
    call = [inputs["x"], None, None]
    if lengths:
        inputs["lengths"] = call[2] = LENGTHS
    if states:
        inputs |= {f"{name}0": state for name, state in zip("hc", given, strict=False)}
        call[1] = tuple(given) if len(given) == 2 else given[0]
    return call, inputs


@pytest.mark.parametrize(("lengths", "states"), CALLS)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c[0].__name__ + "".join(c[1]))
def test_recurrent_layers(cell, options, lengths, states, tmp_path, rng):
    layer = make(cell, options)
    call, inputs = arguments(layer, lengths, states, rng)
    expected = flat(layer(*call))
    again = round_trip(layer, tmp_path, lengths=lengths, states=states)
    assert [port.name for port in again.inputs] == list(inputs)
    agree(again(**inputs), expected)
    agree(runtime(tmp_path / "model.onnx")(**inputs), expected)


@pytest.mark.parametrize("options", OPTIONS[::3], ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("cell", CELLS[:4], ids=lambda c: c[0].__name__ + "".join(c[1]))
def test_float64_by_the_reference_evaluator(cell, options, tmp_path, rng):
    """onnxruntime has no recurrent kernels for float64 on a CPU; the evaluator has no relu."""
    from onnx.reference import ReferenceEvaluator

    layer = make(cell, options, np.float64)
    call, inputs = arguments(layer, False, True, rng)
    expected = flat(layer(*call))
    again = round_trip(layer, tmp_path, states=True)
    agree(again(**inputs), expected, np.float64)
    evaluator = ReferenceEvaluator(str(tmp_path / "model.onnx"))
    agree(evaluator.run(None, inputs), expected, np.float64)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c[0].__name__ + "".join(c[1]))
def test_files_satisfy_the_checker(cell, tmp_path):
    path = tmp_path / "model.onnx"
    options = {"bidirectional": True, "num_layers": 2, "dropout": 0.5}
    export(make(cell, options), path, lengths=True, states=True)
    onnx.checker.check_model(str(path), full_check=True)
    assert onnx.load(path).producer_name == "fastseq"


def test_one_node_for_each_layer(tmp_path):
    path = tmp_path / "model.onnx"
    export(nn.GRU(INPUTS, H, num_layers=3, bidirectional=True, dropout=0.25), path)
    names = [node.op_type for node in onnx.load(path).graph.node]
    assert names.count("GRU") == 3
    assert names.count("Dropout") == 2
    again = load(path)
    kinds = [type(layer).__name__ for _, layer in again.named_children()]
    assert kinds == ["GRU", "Dropout", "GRU", "Dropout", "GRU"]
    assert again.gru_dropout.p == 0.25
    assert not again.training


# -- sequences of layers -----------------------------------------------------------------------


def test_sequential_keeps_names_and_values(tmp_path, rng):
    model = nn.Sequential(
        nn.Embedding(7, 5), nn.Dropout(0.5), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2, False))
    ).eval()
    again = round_trip(model, tmp_path, input_shape=("a", "b"))
    ids = rng.integers(0, 7, (3, 4))
    assert again.inputs[0] == ("ids", np.dtype(np.int64), ("a", "b"))
    agree([again(ids)], [model(ids)])
    agree(runtime(tmp_path / "model.onnx")(ids=ids), [model(ids)])
    state = {name.replace("2_", "2."): a for name, a in again.state_dict().items()}
    agree(state.values(), model.state_dict().values())
    assert state.keys() == model.state_dict().keys()


def test_recurrent_layers_inside_of_a_sequential_have_names_of_their_own(tmp_path, rng):
    model = nn.Sequential(nn.Embedding(7, 5), nn.LSTM(5, H, batch_first=True)).eval()
    again = round_trip(model, tmp_path, states=True, lengths=True)
    assert [port.name for port in again.inputs] == ["ids", "lengths", "1.h0", "1.c0"]
    assert {port.name for port in again.outputs} == {"output", "h_n", "c_n", "1.h_n", "1.c_n"}
    ids, state = rng.integers(0, 7, (B, T)), rng.standard_normal((2, 1, B, H)).astype(np.float32)
    inputs = {"ids": ids, "lengths": LENGTHS, "1.h0": state[0], "1.c0": state[1]}
    expected = flat(model[1](model[0](ids), tuple(state), LENGTHS))
    for run in (again, runtime(tmp_path / "model.onnx")):
        got = dict(zip([port.name for port in again.outputs], run(**inputs), strict=True))
        agree([got["output"], got["1.h_n"], got["1.c_n"]], expected)


TOPS = {
    "tagger": lambda batch_first: [nn.Select(0), nn.LayerNorm(2 * H), nn.ReLU(),
                                   nn.Linear(2 * H, 2), nn.LogSoftmax(-1)],
    "last step": lambda batch_first: [nn.LastStep(batch_first), nn.Tanh(), nn.Softmax(1)],
    "final state": lambda batch_first: [nn.FinalState(bidirectional=True),
                                        nn.LayerNorm(2 * H, elementwise_affine=False),
                                        nn.Sigmoid()],
    "cell state": lambda batch_first: [nn.Select(1), nn.Select(-1), nn.LayerNorm((B, H))],
}  # fmt: skip


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("top", TOPS)
def test_layers_around_a_recurrent_one(top, batch_first, lengths, tmp_path, rng):
    layer = nn.LSTM(5, H, num_layers=2, bidirectional=True, batch_first=batch_first)
    model = nn.Sequential(nn.Embedding(7, 5), layer, *TOPS[top](batch_first)).eval()
    for parameter in model.parameters():
        parameter.data = rng.standard_normal(parameter.shape)  # states of different sizes
    inputs = {"ids": rng.integers(0, 7, (B, T) if batch_first else (T, B))}
    inputs |= {"lengths": LENGTHS} if lengths else {}
    expected = model(**{"x" if name == "ids" else name: a for name, a in inputs.items()})
    again = round_trip(model, tmp_path, lengths=lengths)
    agree([again(**inputs), runtime(tmp_path / "model.onnx")(**inputs)[0]], [expected] * 2)
    assert len(list(again.parameters())) >= 17
    export(again, tmp_path / "again.onnx")
    agree(runtime(tmp_path / "again.onnx")(**inputs), [expected])
    dy = rng.standard_normal(expected.shape).astype(np.float32)
    for module in (model.train(), again.train()):
        module(**({"x": inputs["ids"]} | ({"lengths": LENGTHS} if lengths else {}))
               if module is model else inputs)  # fmt: skip
        module.backward(dy)
    pairs = zip(*[[p.grad for p in m.parameters()][:17] for m in (model, again)], strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_metadata_and_open_sizes(tmp_path):
    again = round_trip(nn.Linear(3, 2), tmp_path, metadata={"who": "me"})
    assert again.metadata == {"who": "me"}
    assert again.inputs[0].shape == ("batch", 3)
    for rows in (1, 5):
        assert again(np.ones((rows, 3), np.float32)).shape == (rows, 2)


class Doubling(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Dense(nn.Module):
    """Its layers, not the module itself, tell the size of the input."""

    def __init__(self):
        self.linear = nn.Linear(2, 3)

    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize(("module", "options", "message"), [
    (nn.Sequential(nn.Linear(2, 3), Doubling(3, 3)), {}, "1: Doubling cannot be exported"),
    (nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 3)), {}, "1: Linear: expected one input"),
    (nn.Sequential(nn.LSTM(2, 3), nn.Select(2)), {}, "1: Select: expected a tuple with"),
    (nn.Sequential(nn.Linear(2, 3), nn.FinalState()), {}, "1: FinalState: expected the output"),
    (nn.MSELoss(), {"input_shape": (1,)}, "mseloss: MSELoss cannot be exported"),
    (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, dtype="float64")), {}, "float32 and float64"),
    (nn.Sequential(nn.Dropout()), {}, "input_shape: expected it"),
    (Doubling(2, 3), {}, "doubling: Doubling cannot be exported"),
    (Dense(), {}, "dense: Dense cannot be exported"),
    (nn.Linear(2, 3), {"lengths": True}, "lengths, states: expected a recurrent layer"),
    (nn.Sequential(nn.Embedding(2, 3), nn.GRU(3, 3)), {"input_shape": (3,)},
     r"input_shape: expected 2 axes like \('time', 'batch'\), got \(3,\)"),
])  # fmt: skip
def test_what_cannot_be_written_is_named(module, options, message, tmp_path):
    with pytest.raises(OnnxError, match=message):
        export(module, tmp_path / "model.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_a_projection_without_inverse_takes_no_states(tmp_path):
    layer = nn.LSTM(2, 3, proj_size=2)
    layer.weight_hr_l0.data = np.ones((2, 3))
    export(layer, tmp_path / "model.onnx")
    with pytest.raises(OnnxError, match="weight_hr: expected independent rows"):
        export(layer, tmp_path / "model.onnx", states=True)


def test_export_takes_modules(tmp_path):
    with pytest.raises(TypeError, match=r"expected a fastseq\.nn\.Module, got int"):
        export(3, tmp_path / "model.onnx")


def test_without_the_package_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    for call in (lambda: export(nn.Linear(1, 1), "x.onnx"), lambda: fastseq.onnx.load("x.onnx")):
        with pytest.raises(ImportError, match=r"pip install 'fastseq-rnn\[onnx\]'"):
            call()
