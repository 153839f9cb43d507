"""Calls of layers: what backward needs belongs to a call, so that several may wait for it."""

import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastseq import nn
from fastseq.nn import calls as calls_module
from fastseq.nn.calls import PendingCalls
from fastseq.nn.module import no_grad
from fastseq.nn.recurrent_module import FIXED

RECURRENT = {
    "RNN": lambda **k: nn.RNN(4, 4, **k),
    "relu": lambda **k: nn.RNN(4, 4, nonlinearity="relu", **k),
    "GRU": lambda **k: nn.GRU(4, 4, **k),
    "LSTM": lambda **k: nn.LSTM(4, 4, **k),
    "projected": lambda **k: nn.LSTM(4, 5, proj_size=4, **k),
}
LAYERS = RECURRENT | {
    "Linear": lambda **k: nn.Linear(4, 4, **k),
    "Embedding": lambda **k: nn.Embedding(7, 4, **k),
}
every_recurrent = pytest.mark.parametrize("name", RECURRENT)
every_layer = pytest.mark.parametrize("name", LAYERS)


def two_by_two(name, **options):
    """Two layers, two directions."""
    options = {"num_layers": 2, "bidirectional": True, "seed": 3} | options
    return RECURRENT[name](**options)


def inputs(name, rng, count):
    """Inputs of different shapes for a layer."""
    shapes = [(3 + n % 3, 1 + n % 2) for n in range(count)]
    if name == "Embedding":
        return [rng.integers(0, 7, shape) for shape in shapes]
    return [rng.normal(size=(*shape, 4)).astype(np.float32) for shape in shapes]


def output(result):
    """The output alone, without states."""
    return result[0] if isinstance(result, tuple) else result


def flat(result):
    """Every array of what forward or backward has returned."""
    if isinstance(result, tuple):
        return [array for part in result for array in flat(part)]
    return [] if result is None else [result]


def gradients(layer):
    return [p.grad.copy() for p in layer.parameters()]


def assert_same_bits(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


@every_recurrent
@pytest.mark.parametrize("lengths", [None, [3, 1]])
def test_inputs_and_outputs_may_be_overwritten_before_backward(build, name, lengths, rng):
    """Neither what the caller has handed in nor what it was given is read by backward."""
    x = rng.normal(size=(3, 2, 4)).astype(np.float32)
    results = []
    for spoils in (False, True):
        layer = two_by_two(name)
        shapes = [state.shape for state in flat(layer(x)[1])]
        layer.backward(None)
        layer.zero_grad()
        states = [np.full(shape, 0.3, np.float32) for shape in shapes]
        given = x.copy()
        y, end = layer(given, tuple(states) if len(states) == 2 else states[0], lengths=lengths)
        dy = np.cos(y)
        if spoils:
            for array in (given, y, *states, *flat(end)):
                array[...] = np.nan
        results.append([*flat(layer.backward(dy)), *gradients(layer)])
    assert_same_bits(*results)


# -- several calls wait for backward -------------------------------------------------------


@every_layer
def test_backward_takes_the_last_call_first(build, name, rng):
    """All forward calls and then all backward calls give the bits of pairs in that order."""
    layer = LAYERS[name](seed=0)
    xs = inputs(name, rng, 4)
    dys = [rng.normal(size=(*x.shape[:2], 4)).astype(np.float32) for x in xs]
    expected = []
    for x, dy in reversed(list(zip(xs, dys, strict=True))):
        layer(x)
        expected += flat(layer.backward(dy))
    expected += gradients(layer)
    layer.zero_grad()
    for x in xs:
        layer(x)
    got = [array for dy in reversed(dys) for array in flat(layer.backward(dy))]
    assert_same_bits(got + gradients(layer), expected)
    with pytest.raises(RuntimeError, match="no forward call"):
        layer.backward(dys[0])


def test_each_call_of_dropout_has_its_own_mask(rng):
    layer, xs = nn.Dropout(0.5, seed=0), [rng.normal(size=(50, n)) for n in (1, 2, 3)]
    ys = [layer(x) for x in xs]
    for x, y in reversed(list(zip(xs, ys, strict=True))):
        np.testing.assert_array_equal(layer.backward(x), y)


def twins(name, dtype="float64"):
    """A layer and PyTorch's with the same weights."""
    torch = pytest.importorskip("torch")
    ours = LAYERS[name](seed=0, dtype=dtype)
    sizes = {"Embedding": (7, 4), "projected": (4, 5)}.get(name, (4, 4))
    options = {"relu": {"nonlinearity": "relu"}, "projected": {"proj_size": 4}}.get(name, {})
    kind = {"relu": "RNN", "projected": "LSTM"}.get(name, name)
    theirs = getattr(torch.nn, kind)(*sizes, **options, dtype=getattr(torch, dtype))
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    return torch, ours, theirs


def assert_close_gradients(ours, theirs):
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-9, atol=1e-12)


@every_layer
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_a_layer_used_twice_has_the_gradients_of_pytorch(build, name, rng):
    """m(x) + m(2x), which weights the two calls differently."""
    torch, ours, theirs = twins(name)
    x = inputs(name, rng, 1)[0]
    x = x if name == "Embedding" else x.astype("float64")
    other = 6 - x if name == "Embedding" else 2 * x
    leaves = [torch.from_numpy(a.copy()) for a in (x, other)]
    if name != "Embedding":
        for leaf in leaves:
            leaf.requires_grad_()
    dy = rng.normal(size=(*x.shape[:2], 4))
    total = output(theirs(leaves[0])) + output(theirs(leaves[1]))
    total.backward(torch.from_numpy(dy))
    got = output(ours(x)) + output(ours(other))
    np.testing.assert_allclose(got, total.detach().numpy(), rtol=1e-9, atol=1e-12)
    for leaf in reversed(leaves):
        dx = output(ours.backward(dy))
        if leaf.requires_grad:
            np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert_close_gradients(ours, theirs)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "Embedding"])
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_a_layer_on_its_own_output_has_the_gradients_of_pytorch(build, name, rng):
    torch, ours, theirs = twins(name)
    x = inputs(name, rng, 1)[0].astype("float64")
    leaf, dy = torch.from_numpy(x.copy()).requires_grad_(), rng.normal(size=x.shape)
    output(theirs(output(theirs(leaf)))).backward(torch.from_numpy(dy))
    ours(output(ours(x)))
    dx = output(ours.backward(output(ours.backward(dy))))
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert_close_gradients(ours, theirs)


# -- calls that backward never takes -------------------------------------------------------


class Held:
    """Something a call holds."""


def test_pending_calls_hold_no_more_than_a_quarter_of_the_memory(monkeypatch):
    monkeypatch.setattr(calls_module, "physical_memory", lambda: 400)
    pending, calls = PendingCalls(), [Held() for _ in range(6)]
    alive = [weakref.ref(call) for call in calls]
    for call, nbytes in zip(calls, (30, 30, 50, 20, 20, 90), strict=True):
        pending.push(call, nbytes)
    del call, calls
    # 30 + 30 + 50 drops the first, ... + 20 + 20 the second, and 90 all others.
    assert [ref() is not None for ref in alive] == [False] * 5 + [True]
    pending.push("small", 10)
    pending.push("larger than all", 1000)
    assert pending.pop() == "larger than all"
    with pytest.raises(RuntimeError, match="no forward call"):
        pending.pop()
    pending.push("after", 100)
    pending.push("more", 0)
    assert [pending.pop(), pending.pop()] == ["more", "after"]  # what was taken counts no more


@every_layer
def test_forward_calls_without_backward_do_not_fill_memory(name, rng, monkeypatch):
    """The last calls stay, and their gradients are right."""
    layer, xs = LAYERS[name](seed=0), inputs(name, rng, 40)
    dys = [rng.normal(size=(*x.shape[:2], 4)).astype(np.float32) for x in xs]
    pairs = []
    for x, dy in zip(xs, dys, strict=True):
        layer(x)
        pairs.append(flat(layer.backward(dy)))
    monkeypatch.setattr(calls_module, "physical_memory", lambda: 1 << 12)
    for x in xs:
        layer(x)
    taken = []

    def take_all():
        for dy, expected in reversed(list(zip(dys, pairs, strict=True))):
            assert_same_bits(flat(layer.backward(dy)), expected)
            taken.append(dy)

    with pytest.raises(RuntimeError, match="no forward call"):
        take_all()
    assert 1 <= len(taken) < 40


# -- attributes ----------------------------------------------------------------------------


@every_recurrent
def test_dropout_may_be_changed(name, rng):
    layer, plain = (RECURRENT[name](num_layers=2, seed=1) for _ in range(2))
    x = rng.normal(size=(5, 3, 4)).astype(np.float32)
    want = flat(plain(x)) + flat(plain.backward(plain(x)[0]))
    layer.dropout = 1.0
    y = layer(x)[0]
    assert y.tobytes() == layer(2 * x)[0].tobytes()  # nothing gets through
    assert y.tobytes() != plain(x)[0].tobytes()
    layer.dropout = 0.5
    assert layer(x)[0].tobytes() != layer(x)[0].tobytes()
    layer.dropout = 0
    assert_same_bits(flat(layer(x)) + flat(layer.backward(layer(x)[0])), want)
    layer.dropout = 1.0
    assert_same_bits(flat(layer.eval()(x)), flat(plain.eval()(x)))


@every_recurrent
@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        *(("dropout", value) for value in (-0.1, 1.1, float("nan"), True, "a", None)),
        *(("batch_first", value) for value in (1, None, "a")),
    ],
)
def test_attributes_are_checked_as_arguments_are(name, attribute, value):
    with pytest.raises((TypeError, ValueError)) as expected:
        RECURRENT[name](num_layers=2, **{attribute: value})
    layer = RECURRENT[name](num_layers=2)
    before = getattr(layer, attribute)
    with pytest.raises(expected.type) as caught:
        setattr(layer, attribute, value)
    assert str(caught.value) == str(expected.value)
    assert getattr(layer, attribute) == before


@every_recurrent
def test_batch_first_may_be_changed(name, rng):
    layer, x = two_by_two(name), rng.normal(size=(5, 3, 4)).astype(np.float32)
    want = flat(layer(x))
    layer.batch_first = True
    got = flat(layer(x.swapaxes(0, 1)))
    assert_same_bits([got[0].swapaxes(0, 1), *got[1:]], want)
    layer.batch_first = False
    assert_same_bits(flat(layer(x)), want)


@every_recurrent
def test_a_call_keeps_the_layout_that_it_had(name, rng):
    layer, x = two_by_two(name), rng.normal(size=(5, 3, 4)).astype(np.float32)
    dy = rng.normal(size=layer(x)[0].shape).astype(np.float32)
    want = flat(layer.backward(dy))
    layer(x)
    layer.batch_first = True
    assert_same_bits(flat(layer.backward(dy)), want)


@every_recurrent
def test_attributes_that_shaped_the_parameters_cannot_be_changed(name):
    layer = RECURRENT[name]()
    own = [attribute for attribute in FIXED if attribute in vars(layer)]
    assert {"input_size", "hidden_size", "num_layers", "bias", "bidirectional"} <= set(own)
    for attribute in own:
        before = getattr(layer, attribute)
        with pytest.raises(AttributeError, match=f"{attribute}: cannot be changed"):
            setattr(layer, attribute, before)
        assert getattr(layer, attribute) is before


# -- gradients that are not wanted ---------------------------------------------------------


@every_recurrent
@pytest.mark.parametrize("lengths", [None, [5, 1, 3]], ids=["full", "lengths"])
def test_a_gradient_of_the_input_that_is_not_needed(build, name, lengths, rng):
    layer, x = two_by_two(name), rng.normal(size=(5, 3, 4)).astype(np.float32)
    dy = rng.normal(size=layer(x, None, lengths)[0].shape).astype(np.float32)
    _, want = layer.backward(dy)
    want = [*flat(want), *gradients(layer)]
    layer.zero_grad()
    layer(x, None, lengths)
    dx, got = layer.backward(dy, needs_input_grad=False)
    assert dx is None
    assert_same_bits([*flat(got), *gradients(layer)], want)


@every_recurrent
@pytest.mark.parametrize("lengths", [None, [5, 1, 3]], ids=["full", "lengths"])
def test_a_parameter_that_requires_no_gradient(build, name, lengths, rng):
    """Its gradient stays as it is, and all others have the same bits."""
    layer, x = two_by_two(name), rng.normal(size=(5, 3, 4)).astype(np.float32)
    dy = rng.normal(size=layer(x, None, lengths)[0].shape).astype(np.float32)
    want = flat(layer.backward(dy))
    want_gradients = dict(zip(layer.state_dict(), gradients(layer), strict=True))
    for names in [[frozen] for frozen in want_gradients] + [list(want_gradients)]:
        for frozen, parameter in layer.named_parameters():
            parameter.requires_grad = frozen not in names
            parameter.grad = np.full(parameter.shape, 7.0 if frozen in names else 0.0)
        layer(x, None, lengths)
        assert_same_bits(flat(layer.backward(dy)), want)
        for other, parameter in layer.named_parameters():
            if other in names:
                assert (parameter.grad == 7).all()
            else:
                assert parameter.grad.tobytes() == want_gradients[other].tobytes()


# -- threads -------------------------------------------------------------------------------


@every_recurrent
@pytest.mark.parametrize("mode", ["eval", "no_grad"])
def test_four_threads_on_one_layer(name, mode, rng):
    """Buffers large enough to come from the pool; different shapes at the same time."""
    sizes = {"projected": (20, 40)}.get(name, (20, 30))
    kind = type(RECURRENT[name]())
    options = {"proj_size": 25} if name == "projected" else {}
    layer = kind(*sizes, num_layers=2, bidirectional=True, seed=0, **options)
    layer.train(mode == "no_grad")
    xs = [rng.normal(size=(10 + n % 5, 2 + n % 3, 20)).astype(np.float32) for n in range(40)]
    lengths = [None if n % 2 else [1 + b % 9 for b in range(x.shape[1])] for n, x in enumerate(xs)]

    def run(n):
        if mode == "eval":
            return flat(layer(xs[n], None, lengths[n]))
        with no_grad():
            return flat(layer(xs[n], None, lengths[n]))

    want = [run(n) for n in range(len(xs))]
    with ThreadPoolExecutor(4) as pool:
        for n, got in enumerate(pool.map(run, range(len(xs)))):
            assert_same_bits(got, want[n])


def test_no_grad_is_of_one_thread(rng):
    layer, x = nn.GRU(4, 4, seed=0), rng.normal(size=(3, 2, 4)).astype(np.float32)
    with no_grad(), ThreadPoolExecutor(1) as pool:
        y, _ = pool.submit(layer, x).result()
        layer(x)
    layer.backward(np.ones_like(y))
    with pytest.raises(RuntimeError, match="no forward call"):
        layer.backward(np.ones_like(y))
