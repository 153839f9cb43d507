"""Gradients of loaded graphs: of each operator, and of whole models."""

import numpy as np
import pytest
from graphs import agree, flat, helper, loaded, model, round_trip

from fastseq import nn, optim
from fastseq.onnx import OnnxError
from fastseq.onnx.steps import Call
from fastseq.onnx.table import OPERATORS

A = np.random.default_rng(1).uniform(0.3, 1.7, (2, 3, 4))
IDS = np.array([[1, 0], [1, -1]])
ONES = np.ones(3)

# Operator: its inputs, and its attributes. Every operator with a gradient stands here.
EXAMPLES = [
    *((name, (A - 1,), {}) for name in ("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Exp",
                                        "Neg", "Abs", "Identity")),
    *((name, (A,), {}) for name in ("Log", "Sqrt", "Reciprocal")),
    ("LeakyRelu", (A - 1,), {"alpha": 0.25}),
    ("HardSigmoid", (5 * A - 4,), {"alpha": 0.25, "beta": 0.375}),
    ("Clip", (A, np.float64(0.5), np.float64(1.5)), {}),
    ("Clip", (A,), {"min": 0.5}),
    ("Cast", (A,), {"to": 11}),
    ("CastLike", (A, ONES), {}),
    *((name, pair, {}) for name in ("Add", "Sub", "Mul", "Div")
      for pair in ((A, A[:, :1] + 1), (A[0, :, :1], A))),
    ("Pow", (A[:, :1], np.array([2.0, 3.0, 0.5, 1.0])), {}),
    ("Sum", (A, A[0], A[:, :1]), {}),
    ("Where", (A[:, :, :1] > 1, A, A[0]), {}),
    *((name, (A,), {"axis": axis, "opset": opset}) for name in ("Softmax", "LogSoftmax")
      for axis, opset in ((1, 17), (1, 11), (-1, 13), (None, 9))),
    *((name, (A,), {"axes": (0, -1), "keepdims": keep}) for name in ("ReduceSum", "ReduceMean")
      for keep in (0, 1)),
    ("ReduceSum", (A, np.array([1])), {}),
    ("Reshape", (A, np.array([0, -1])), {}),
    ("Flatten", (A,), {}),
    ("Squeeze", (A[:1], np.array([0])), {}),
    ("Unsqueeze", (A,), {"axes": (0, -1)}),
    ("Transpose", (A,), {"perm": (2, 0, 1)}),
    *(("Gather", (A, IDS), {"axis": axis}) for axis in (0, 1, -1)),
    ("GatherElements", (A, np.zeros((2, 1, 4), int)), {"axis": 1}),
    ("Slice", (A, np.array([-1, 0]), np.array([-4, 3]), np.array([1, 2]), np.array([-2, 1])), {}),
    ("Slice", (A,), {"starts": (1,), "ends": (3,), "axes": (1,)}),
    ("Split", (A,), {"axis": 2, "output_count": 3}),
    ("Concat", (A, A[:, :1]), {"axis": 1}),
    ("Expand", (A[:, :1], np.array([2, 1, 3, 1])), {}),
    ("ReverseSequence", (A, np.array([2, 1, 2])), {}),
    *(("MatMul", pair, {}) for pair in ((A, A[0].T), (A, A[0, 0]), (A[0, :, 0], A),
                                        (A, A[:1].swapaxes(1, 2)))),
    *(("Gemm", (A[0].T if ta else A[0], A[1] if tb else A[1].T, ONES),
       {"alpha": 0.5, "beta": 2.0, "transA": ta, "transB": tb}) for ta in (0, 1) for tb in (0, 1)),
    ("BatchNormalization", (A, ONES * 2, ONES, ONES, ONES * 3), {}),
    ("LayerNormalization", (A, A[0, 0], A[1, 0]), {}),
    ("LayerNormalization", (A, A[0]), {"axis": 1}),
]  # fmt: skip


def test_every_gradient_has_an_example():
    assert {name for name, entry in OPERATORS.items() if entry.gradient} == {
        name for name, *_ in EXAMPLES
    }


@pytest.mark.parametrize(("name", "inputs", "attributes"), EXAMPLES)
def test_gradients_are_those_of_finite_differences(name, inputs, attributes, rng):
    count = attributes.get("output_count", 1)
    step = Call("it", (), tuple(range(count)), name, attributes)
    outputs = step.run(None, inputs)
    grads = [rng.standard_normal(y.shape) for y in outputs]
    got = step.backward(None, grads, outputs, inputs)

    def loss(changed):
        return sum((dy * y).sum() for dy, y in zip(grads, step.run(None, changed), strict=True))

    for place, (x, dx) in enumerate(zip(inputs, got, strict=False)):
        if dx is None or x.dtype.kind != "f" or (name == "Clip" and place):
            continue
        expected = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            sides = []
            for sign in (1, -1):
                moved = x.copy()
                moved[index] += sign * 1e-6
                sides.append(loss([*inputs[:place], moved, *inputs[place + 1 :]]))
            expected[index] = (sides[0] - sides[1]) / 2e-6
        assert dx.shape == x.shape
        np.testing.assert_allclose(dx, expected, rtol=1e-6, atol=1e-7)


# -- whole models ------------------------------------------------------------------------------

T, B, INPUTS, H = 5, 3, 3, 4


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_loaded_layer_has_the_gradients_of_the_first(kind, batch_first, lengths, tmp_path, rng):
    layer = kind(
        INPUTS, H, num_layers=2, bidirectional=True, batch_first=batch_first, dtype="float64"
    )
    again = round_trip(layer, tmp_path, states=True, lengths=lengths).train()
    x = rng.standard_normal((B, T, INPUTS) if batch_first else (T, B, INPUTS))
    states = [rng.standard_normal((4, B, H)) for _ in range(1 + (kind is nn.LSTM))]
    count = [np.array([3, 5, 1])] if lengths else []
    y = flat(layer(x, tuple(states) if kind is nn.LSTM else states[0], *count))
    grads = [rng.standard_normal(array.shape) for array in y]
    expected = layer.backward(grads[0], tuple(grads[1:]) if kind is nn.LSTM else grads[1])
    agree(again(x, *count, *states), y, np.float64)
    got = [grad for grad in again.backward(*grads) if grad is not None]
    agree(got, flat(expected), np.float64)
    agree([p.grad for p in again.parameters()], [p.grad for p in layer.parameters()], np.float64)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_one_direction_of_a_graph_is_that_of_pytorch(direction, tmp_path, rng):
    torch = pytest.importorskip("torch")
    layer = nn.GRU(INPUTS, H, dtype="float64")
    round_trip(layer, tmp_path)
    proto = model([], {}, [])
    proto.ParseFromString((tmp_path / "model.onnx").read_bytes())
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "direction":
                attribute.s = direction.encode()
    again = loaded(proto, tmp_path).train()
    twin = torch.nn.GRU(INPUTS, H, dtype=torch.float64)
    twin.load_state_dict({k: torch.tensor(v) for k, v in layer.state_dict().items()})
    x = rng.standard_normal((T, B, INPUTS))
    tensor = torch.tensor(x[::-1].copy() if direction == "reverse" else x, requires_grad=True)
    y, h = twin(tensor)
    back = (lambda a: a[::-1]) if direction == "reverse" else (lambda a: a)
    agree(again(x), [back(y.detach().numpy()), h.detach().numpy()], np.float64)
    dy, dh = rng.standard_normal(y.shape), rng.standard_normal(h.shape)
    torch.autograd.backward([y, h], [torch.tensor(back(dy).copy()), torch.tensor(dh)])
    agree([again.backward(dy, dh)], [back(tensor.grad.numpy())], np.float64)
    for p, q in zip(again.parameters(), twin.parameters(), strict=True):
        agree([p.grad], [q.grad.numpy()], np.float64)


def test_training_goes_on_as_without_the_detour(tmp_path, rng):
    first = nn.Sequential(nn.Embedding(7, 5, seed=0), nn.Linear(5, 4, seed=1), nn.Linear(4, 3))
    again = round_trip(first, tmp_path, input_shape=("n",)).train()
    ids, targets = rng.integers(0, 7, 20), rng.integers(0, 3, 20)
    losses = []
    for module in (first, again):
        optimizer, criterion = optim.Adam(module.parameters(), lr=0.05), nn.CrossEntropyLoss()
        losses.append([])
        for _ in range(8):
            optimizer.zero_grad()
            losses[-1].append(float(criterion(module(ids), targets)))
            module.backward(criterion.backward())
            optimizer.step()
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


X = np.ones((2, 4), np.float32)


def test_a_layer_whose_output_is_not_used_gives_no_gradient_to_another_call(tmp_path):
    nodes = [node("MatMul", "x w", "a"), node("MatMul", "x v", "b")]
    module = loaded(model(nodes, {"x": X}, ["a", "b"], w=X.T, v=2 * X.T), tmp_path).train()
    a, _ = module(X)
    dx = module.backward(np.ones_like(a), None)
    agree([dx], [np.full_like(X, 2)])
    assert module.linear.weight.grad.any()
    assert not module.linear_1.weight.grad.any()
    with pytest.raises(RuntimeError, match="no forward call"):
        module.linear_1.backward(a)


def test_several_calls_wait_for_backward(tmp_path, rng):
    module = round_trip(nn.Linear(4, 2, seed=0), tmp_path).train()
    calls = rng.standard_normal((2, 3, 4)).astype(np.float32)
    for x in calls:
        module(x)
        x += 100  # the module has a copy
    dy = np.ones((3, 2), np.float32)
    module.backward(dy)
    agree([module.linear.weight.grad[0]], [(calls[1] - 100).sum(0)])
    module.backward(dy)
    with pytest.raises(RuntimeError, match="no forward call"):
        module.backward(dy)


def test_operators_without_a_gradient_are_named(tmp_path):
    nodes = [helper.make_node("Floor", ["x"], ["f"], name="floor"), node("MatMul", "f w", "y")]
    module = loaded(model(nodes, {"x": X}, ["y"], w=X.T), tmp_path).train()
    dy = np.ones_like(module(X))
    with pytest.raises(OnnxError, match="Floor node 'floor': has no gradient, which what lies"):
        module.backward(dy)
    assert module.backward(dy, needs_input_grad=False) is None
    agree([module.linear.weight.grad], [np.full((2, 4), 2, np.float32)])


@pytest.mark.parametrize(("grads", "kind", "message"), [
    ([], RuntimeError, "grad_outputs: expected 1 gradients, got 0"),
    ([np.ones(3, np.float32)], RuntimeError, r"gradient of output: expected shape \(2, 2\), got"),
    ([np.ones((2, 2))], TypeError, "gradient of output: expected float32, got float64"),
    ([[1]], TypeError, "gradient of output: expected float32, got list"),
])  # fmt: skip
def test_wrong_gradients(grads, kind, message, tmp_path):
    module = round_trip(nn.Linear(4, 2), tmp_path).train()
    module(X)
    with pytest.raises(kind, match=message):
        module.backward(*grads)
    module.backward(np.ones((2, 2), np.float32))  # the call is still there
