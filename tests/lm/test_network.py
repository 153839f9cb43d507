"""Loss and gradients of a whole language model, against finite differences and PyTorch."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastseq.lm.config import ModelConfig
from fastseq.lm.network import Network, State
from fastseq.nn import cross_entropy

V = 5
KINDS = {
    "one-hot, dense": ({}, (3, 2)),
    "one-hot, sparse": ({}, (2, 2)),
    "embedding, table": ({"embedding_size": 4}, (3, 2)),
    "embedding, rows": ({"embedding_size": 4}, (2, 2)),
    "tied, table": ({"embedding_size": 3, "tie_weights": True}, (3, 2)),
    "tied, rows": ({"embedding_size": 3, "tie_weights": True}, (2, 2)),
    "two layers": ({"num_layers": 2}, (2, 2)),
    "dropout": ({"num_layers": 2, "embedding_size": 4, "dropout": 0.5}, (3, 2)),
    "dropout, one-hot": ({"dropout": 0.5}, (3, 2)),
    "dropout, tied": ({"embedding_size": 3, "tie_weights": True, "dropout": 0.5}, (3, 2)),
}


def build(seed=0, **options):
    options = {"hidden_size": 3, "dtype": "float64", "seed": seed} | options
    return Network(ModelConfig(**options), V)


def window(T, B, seed=0):
    rng = np.random.default_rng(seed)
    inputs, targets = rng.integers(0, V, (2, T, B))
    return inputs, targets


def random_state(network, B, seed=1):
    rng = np.random.default_rng(seed)
    h, c = network.zero_state(B)
    return State(
        rng.normal(size=h.shape).astype(h.dtype),
        None if c is None else rng.normal(size=h.shape).astype(h.dtype),
    )


def gradients(network):
    return {name: p.grad.copy() for name, p in network.named_parameters()}


def loss_again(network, draws, *arguments):
    """The loss under the dropout masks that the random state `draws` gives."""
    network.random.bit_generator.state = draws
    return network.forward_backward(*arguments)[0]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_finite_differences(cell, kind):
    options, (T, B) = KINDS[kind]
    network = build(cell=cell, **options)
    inputs, targets = window(T, B)
    targets[0, 0] = -1
    arguments = inputs, targets, random_state(network, B), 1.0
    draws = network.random.bit_generator.state
    loss_again(network, draws, *arguments)
    found = gradients(network)
    eps = 1e-6
    for name, parameter in network.named_parameters():
        flat = parameter.data.reshape(-1)
        for i in range(0, flat.size, 1 + flat.size // 7):
            value = flat[i]
            flat[i] = value + eps
            above = loss_again(network, draws, *arguments)
            flat[i] = value - eps
            below = loss_again(network, draws, *arguments)
            flat[i] = value
            expected = (above - below) / (2 * eps)
            assert found[name].reshape(-1)[i] == pytest.approx(expected, abs=2e-8), (name, i)


@pytest.mark.parametrize("kind", KINDS)
def test_accumulated_gradients_add_up(kind):
    options, (T, B) = KINDS[kind]
    network = build(**options | {"dropout": 0.0})
    parts, total = [], {}
    for seed in range(2):
        network.forward_backward(*window(T, B, seed), scale=0.5)
        parts.append(gradients(network))
    for seed in range(2):
        network.forward_backward(*window(T, B, seed), scale=0.5, accumulate=seed > 0)
    total = gradients(network)
    for name in total:
        np.testing.assert_allclose(total[name], parts[0][name] + parts[1][name], atol=1e-15)


@pytest.mark.parametrize("size", [None, 2])
def test_windows_of_changing_size_leave_no_gradient_behind(size):
    network, fresh = build(embedding_size=size), build(embedding_size=size)
    parameter = network.embedding["weight"] if size else network.rnn["weight_ih_l0"]
    for T, B in [(1, 1), (4, 2), (1, 2), (2, 1), (3, 3)]:
        network.forward_backward(*window(T, B, seed=T))
        fresh.zero_grad()
        fresh.forward_backward(*window(T, B, seed=T))
        for name, grad in gradients(network).items():
            np.testing.assert_array_equal(grad, gradients(fresh)[name])
        others = np.setdiff1d(np.arange(V), parameter.rows)
        assert not parameter.grad[others].any()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_carried_state_joins_windows(cell):
    network = build(cell=cell, num_layers=2)
    inputs, targets = window(5, 2)
    whole, end = network.loss(inputs, targets)
    first, state = network.loss(inputs[:2], targets[:2])
    second, state = network.loss(inputs[2:], targets[2:], state)
    assert first + second == pytest.approx(whole, rel=1e-13)
    np.testing.assert_allclose(state.h, end.h, rtol=1e-12)
    np.testing.assert_allclose(network.advance(inputs).h, end.h, rtol=1e-12)


def test_the_state_handed_in_stays_as_it_is():
    network = build()
    state = random_state(network, 2)
    before = state.copy()
    _, end = network.forward_backward(*window(3, 2), state)
    kept = end.copy()
    network.forward_backward(*window(3, 2, seed=1), end)
    for array, expected in zip((*state, *end), (*before, *kept), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_step_agrees_with_losses(cell):
    network = build(cell=cell, embedding_size=2)
    inputs, targets = window(4, 3)
    losses = network.losses(inputs, targets)[0].copy()
    state = None
    for t in range(4):
        log_probs, state = network.step(inputs[t], state)
        np.testing.assert_allclose(np.exp(log_probs).sum(1), 1.0)
        np.testing.assert_allclose(-log_probs[np.arange(3), targets[t]], losses[t])


@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_backward_are_the_whole_update(kind):
    """Logits, a loss of one's own and backward give what the fused loss gives."""
    options, (T, B) = KINDS[kind]
    fused, apart = build(**options), build(**options)
    inputs, targets = window(T, B)
    state = random_state(fused, B)
    loss, end = fused.forward_backward(inputs, targets, state)
    apart.zero_grad()
    logits, other_end = apart.forward(inputs, state)
    assert logits.shape == (T, B, V)
    ours, grad = cross_entropy(logits.reshape(T * B, V), targets.reshape(-1))
    apart.backward(grad.reshape(T, B, V))
    assert ours * T * B == pytest.approx(loss, rel=1e-12)
    assert np.array_equal(end.h, other_end.h)
    want = gradients(fused)
    for name, gradient in gradients(apart).items():
        np.testing.assert_allclose(gradient, want[name], rtol=1e-10, atol=1e-14, err_msg=name)
    with pytest.raises(RuntimeError, match="no forward call"):
        apart.backward(grad.reshape(T, B, V))


@pytest.mark.parametrize("kind", ["embedding, table", "two layers"])
def test_several_forward_calls_before_backward(kind):
    network, (T, B) = build(**KINDS[kind][0]), KINDS[kind][1]
    calls = [window(T, B, seed)[0] for seed in (1, 2)]
    rng = np.random.default_rng(3)
    grads = [rng.normal(size=(T, B, V)) for _ in calls]
    for inputs, grad in zip(calls, grads, strict=True):
        network.forward(inputs)
        network.backward(grad)
    want = gradients(network)
    network.zero_grad()
    for inputs in calls:
        state = random_state(network, B)
        state.h[...] = 0
        if state.c is not None:
            state.c[...] = 0
        tokens = inputs.copy()
        network.forward(tokens, state)
        tokens[...], state.h[...] = 0, np.nan  # the caller's own
    for grad in reversed(grads):
        network.backward(grad)
    for name, gradient in gradients(network).items():
        np.testing.assert_allclose(gradient, want[name], rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_one_model_serves_many_threads(cell):
    network = build(cell=cell, embedding_size=4, num_layers=2, hidden_size=24).eval()
    windows = [window(20, 3, seed) for seed in range(8)]
    want = [network.losses(*one)[0].tobytes() for one in windows]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda n: network.losses(*windows[n % 8])[0].tobytes(), range(400)))
    assert got == want * 50


def test_dropout_acts_in_training_only():
    network = build(dropout=0.5)
    arguments = window(3, 2)
    assert network.forward_backward(*arguments)[0] != network.forward_backward(*arguments)[0]
    plain = network.loss(*arguments)[0]
    assert network.eval().forward_backward(*arguments)[0] == plain == network.loss(*arguments)[0]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_are_equal_and_independent(duplicate):
    network = build(num_layers=2, embedding_size=4, dropout=0.3)
    network.forward_backward(*window(3, 2))
    twin = duplicate(network)
    for seed in range(2):
        losses = [n.forward_backward(*window(2, 2, seed))[0] for n in (network, twin)]
        assert losses[0] == losses[1]
        for name, grad in gradients(network).items():
            np.testing.assert_array_equal(grad, gradients(twin)[name])
    network.head["bias"].data += 1.0
    assert not np.array_equal(network.head["bias"].data, twin.head["bias"].data)


@pytest.mark.parametrize("options", [{}, {"embedding_size": 3, "tie_weights": True}])
def test_state_dict_has_the_announced_names_and_shapes(options):
    network = build(num_layers=2, **options)
    expected = network.config.parameter_shapes(V)
    state = network.state_dict()
    assert {name: array.shape for name, array in state.items()} == expected
    twin = build(seed=9, num_layers=2, **options)
    twin.load_state_dict(state)
    assert twin.loss(*window(3, 2))[0] == network.loss(*window(3, 2))[0]


@pytest.mark.parametrize(
    ("cell", "options"),
    [("lstm", {}), ("gru", {}), ("rnn", {}), ("lstm", {"embedding_size": 3, "tie_weights": True})],
)
def test_against_pytorch(cell, options):
    torch = pytest.importorskip("torch")
    network = build(cell=cell, num_layers=2, **options)
    T, B, H = 4, 2, 3
    inputs, targets = window(T, B)
    state = random_state(network, B)
    loss, end = network.forward_backward(inputs, targets, state, 1.0)

    weights = {n: torch.tensor(a, requires_grad=True) for n, a in network.state_dict().items()}
    names = [f"{k}_l{n}" for n in (0, 1) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    layers = kind(weights["rnn.weight_ih_l0"].shape[1], H, 2, dtype=torch.float64)
    one_hot = torch.eye(V, dtype=torch.float64)
    table = weights["embedding.weight"] if options else one_hot
    own = {name: weights[f"rnn.{name}"] for name in names}
    start = tuple(torch.tensor(s) for s in state if s is not None)
    y, last = torch.func.functional_call(
        layers, own, (table[torch.tensor(inputs)], start if cell == "lstm" else start[0])
    )
    head = weights["embedding.weight"] if options else weights["head.weight"]
    logits = y @ head.T + weights["head.bias"]
    expected = torch.nn.functional.cross_entropy(
        logits.reshape(-1, V), torch.tensor(targets).reshape(-1), reduction="sum"
    )
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    h = last[0] if cell == "lstm" else last
    np.testing.assert_allclose(end.h, h.detach().numpy(), atol=1e-12)
    for name, parameter in network.named_parameters():
        grad = parameter.grad.T if parameter.transposed else parameter.grad
        np.testing.assert_allclose(grad, weights[name].grad.numpy(), atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cell": "elman"}, ValueError, "cell: expected one of lstm, gru, rnn"),
        ({"hidden_size": 0}, ValueError, "hidden_size: expected at least 1"),
        ({"hidden_size": 2.5}, TypeError, "hidden_size: expected an integer"),
        ({"num_layers": True}, TypeError, "num_layers"),
        ({"embedding_size": -1}, ValueError, "embedding_size"),
        ({"dropout": float("nan")}, ValueError, "dropout: expected a finite number"),
        ({"dropout": 1.0}, ValueError, "dropout"),
        ({"forget_bias": float("inf")}, ValueError, "forget_bias"),
        ({"tie_weights": True}, ValueError, "tie_weights: expected embedding_size 3"),
        ({"dtype": "float16"}, ValueError, "dtype"),
        ({"num_layers": 10**9}, ValueError, "num_layers: expected at most 10000, got 1000000000"),
        ({"hidden_size": 10**9}, ValueError, "hidden_size, num_layers, .*: expected at most"),
        ({"embedding_size": 10**12}, ValueError, "embedding_size, .*: expected at most"),
        ({"hidden_size": 10**5, "num_layers": 1000}, ValueError, "num_layers, .*: expected at m"),
    ],
)
def test_configuration_errors_name_the_field(change, error, message):
    with pytest.raises(error, match=message):
        build(**change)


def test_window_errors():
    network = build()
    inputs, targets = window(3, 2)
    with pytest.raises(ValueError, match="targets: expected shape"):
        network.loss(inputs, targets[:2])
    with pytest.raises(TypeError, match="expected int64"):
        network.loss(inputs.astype(np.int32), targets)
    with pytest.raises(ValueError, match="inputs: expected shape"):
        network.loss(inputs[0], targets[0])
    with pytest.raises(ValueError, match="state: expected shape"):
        network.loss(inputs, targets, network.zero_state(3))
    with pytest.raises(IndexError, match="ids: expected 0 <= id < 5"):
        network.loss(inputs + V, targets)
    with pytest.raises(IndexError, match="targets: expected id < 5"):
        network.loss(inputs, targets + V)
