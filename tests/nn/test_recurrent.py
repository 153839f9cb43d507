"""What holds for every recurrent layer: memory layouts, rows apart from each other, buffers."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastseq
from fastseq import nn

CELLS = {
    "rnn_tanh": lambda **k: nn.RNN(3, 4, **k),
    "rnn_relu": lambda **k: nn.RNN(3, 4, nonlinearity="relu", **k),
    "gru": lambda **k: nn.GRU(3, 4, **k),
    "lstm": lambda **k: nn.LSTM(3, 4, **k),
    "projected": lambda **k: nn.LSTM(3, 4, proj_size=2, **k),
}
T, B = 5, 3


@pytest.fixture(params=CELLS)
def make(request):
    """Builds a layer of one kind: two layers, two directions."""

    def build(**options):
        return CELLS[request.param](
            **({"num_layers": 2, "bidirectional": True, "seed": 5} | options)
        )

    return build


@pytest.fixture
def x(rng):
    return rng.normal(size=(T, B, 3)).astype(np.float32)


def flat(result):
    """(output, state) or (output, (h, c)) as a list of arrays."""
    first, state = result
    return [first, *state] if isinstance(state, tuple) else [first, state]


def step(layer, x, lengths=None):
    """Bits of everything that forward and backward give for a fixed output gradient."""
    layer.zero_grad()
    out = flat(layer(x, None, lengths))
    dy = np.linspace(-1, 1, out[0].size, dtype=out[0].dtype).reshape(out[0].shape)
    out += flat(layer.backward(dy))
    return [a.copy() for a in out] + [p.grad.copy() for p in layer.parameters()]


def assert_same_bits(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


def _sliced(a):
    wide = np.zeros((2 * a.shape[0], a.shape[1] + 1, 3 * a.shape[2]), a.dtype)
    wide[::2, 1:, ::3] = a
    return wide[::2, 1:, ::3]


def _unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "fortran": np.asfortranarray,
    "negative strides": lambda a: a[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "read-only": _read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "sliced": _sliced,
    "unaligned": _unaligned,
    "broadcast": None,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_memory_layout_changes_nothing(make, x, rng, layout, training):
    layer = make().train(training)
    y, state = layer(x)
    values = [x, *flat((y, state))[1:], rng.normal(size=y.shape).astype(np.float32)]
    if layout == "broadcast":
        values = [np.broadcast_to(a[:1], a.shape) for a in values]
    change = LAYOUTS[layout] or (lambda a: a)

    def run(arrays):
        x, *states, dy = arrays
        layer.zero_grad()
        state = tuple(states) if len(states) == 2 else states[0]
        out = flat(layer(x, state))
        if training:
            out += flat(layer.backward(dy, state))
        return out + [p.grad.copy() for p in layer.parameters()]

    expected = run([np.ascontiguousarray(a) for a in values])
    changed = [change(a) for a in values]
    before = [a.tobytes() for a in changed]
    assert_same_bits(run(changed), expected)
    assert [a.tobytes() for a in changed] == before  # inputs are never modified


def test_outputs_and_inputs_are_not_shared_with_the_next_call(make, x):
    layer = make()
    expected = step(layer, x)
    out = flat(layer(x))
    kept = [a.copy() for a in out]
    flat(layer(x + 1))
    assert_same_bits(out, kept)
    mine = x.copy()
    y, _ = layer(mine)
    dy = np.linspace(-1, 1, y.size, dtype=y.dtype).reshape(y.shape)
    layer.zero_grad()
    mine[...] = np.nan  # backward goes by what forward saw
    y[...] = np.nan
    dx, *_ = gradients = flat(layer.backward(dy))
    assert_same_bits([*gradients, *(p.grad for p in layer.parameters())], expected[len(out) :])
    layer(x + 1)
    layer.backward(dy)
    assert dx.tobytes() == expected[len(out)].tobytes()


@pytest.mark.parametrize("training", [True, False])
def test_a_row_does_not_depend_on_the_others(build, make, x, training):
    layer = make().train(training)
    together = flat(layer(x))
    if training:
        together += flat(layer.backward(np.ones_like(together[0])))
    for b in range(B):
        alone = flat(layer(x[:, b : b + 1]))
        if training:
            alone += flat(layer.backward(np.ones_like(alone[0])))
        assert_same_bits(alone, [a[:, b : b + 1] for a in together])


def test_padding_does_not_matter(build, make, x):
    layer, lengths = make(), [2, 5, 1]
    padded = x.copy()
    for b, length in enumerate(lengths):
        padded[length:, b] = np.nan
    together = step(layer, x, lengths)
    assert_same_bits(step(layer, padded, lengths), together)
    layer.eval()
    results = flat(layer(padded, None, lengths))
    count = len(results)
    assert_same_bits(results, together[:count])
    for b, length in enumerate(lengths):
        y, *states = flat(layer(x[:length, b : b + 1]))
        assert_same_bits([y], [results[0][:length, b : b + 1]])
        assert_same_bits(states, [a[:, b : b + 1] for a in results[1:]])
        assert not results[0][length:, b].any()
        assert not together[count][length:, b].any()  # dx


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_sequence(build, make, x, poison):
    layer = make()
    clean = flat(layer(x))
    clean += flat(layer.backward(np.ones_like(clean[0])))
    x[1, 1, 0] = poison
    with np.errstate(all="ignore"):
        dirty = flat(layer(x))
        dirty += flat(layer.backward(np.ones_like(dirty[0])))
    for a, b in zip(clean, dirty, strict=True):
        assert_same_bits([a[:, ::2]], [b[:, ::2]])
    if np.isnan(poison):
        assert np.isnan(dirty[0][1:, 1]).any()


@pytest.mark.parametrize("size", [1e20, -1e20])
@pytest.mark.parametrize("cell", [name for name in CELLS if name != "rnn_relu"])
def test_huge_inputs_saturate(build, cell, x, size):
    layer = CELLS[cell](num_layers=2, bidirectional=True, seed=5)
    x[...] = size
    y, _ = layer(x)
    assert np.isfinite(y).all()
    assert np.isfinite(layer.backward(np.ones_like(y))[0]).all()


def test_threads_on_one_layer_in_eval_mode(make, rng):
    layer = make().eval()
    inputs = [rng.normal(size=(20 + n % 4, 1 + n % 3, 3)).astype(np.float32) for n in range(64)]
    expected = [flat(layer(x)) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(lambda x: flat(layer(x)), inputs), expected, strict=True):
            assert_same_bits(got, want)


@pytest.mark.parametrize("leave", ["eval", "no_grad"])
def test_forward_without_gradients_leaves_the_kept_call_alone(make, x, leave):
    layer = make()
    expected = step(layer, x)
    layer.zero_grad()
    y, _ = layer(x)
    if leave == "eval":
        layer.eval()(x[:2] + 1)
        layer.train()
    else:
        with fastseq.no_grad():
            layer(x[:2] + 1)
    dy = np.linspace(-1, 1, y.size, dtype=y.dtype).reshape(y.shape)
    got = [*flat(layer.backward(dy)), *(p.grad for p in layer.parameters())]
    assert_same_bits(got, expected[-len(got) :])


def test_nothing_is_kept_in_eval_mode_or_without_grad(make, x):
    layer = make().eval()
    y, _ = layer(x)
    with pytest.raises(RuntimeError, match="no forward call"):
        layer.backward(y)
    with fastseq.no_grad():
        layer.train()(x)
    with pytest.raises(RuntimeError, match="no forward call"):
        layer.backward(y)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_independent(make, x, copied):
    layer = make(dropout=0.3)
    layer(x)  # buffers exist, and the generator is not at its start
    twin = copied(layer)
    assert_same_bits(step(twin, x), step(layer, x))
    twin.weight_hh_l0.data[...] = 0
    assert layer.weight_hh_l0.data.any()
    assert_same_bits(step(copied(twin), x), step(twin, x))


def test_a_replaced_parameter_is_used(make, x):
    layer, other = make(), make(seed=6)
    expected = step(other, x)
    step(layer, x)
    for name, parameter in other.named_parameters():
        setattr(layer, name, nn.Parameter(parameter.data))
    assert_same_bits(step(layer, x), expected)
    assert_same_bits(flat(layer.eval()(x)), expected[: len(flat(layer(x)))])


def test_dropout_between_layers(x):
    full = nn.LSTM(3, 4, num_layers=2, dropout=1.0, seed=1)
    y, _ = full(x)
    assert_same_bits([y], [full(x * 2)[0]])  # nothing gets through
    plain = nn.LSTM(3, 4, num_layers=2, seed=1)
    assert_same_bits(flat(full.eval()(x)), flat(plain(x)))
    first, second = (nn.LSTM(3, 4, num_layers=2, dropout=0.5, seed=s) for s in (1, 1))
    assert_same_bits([first(x)[0], first(x)[0]], [second(x)[0], second(x)[0]])
    assert (first(x)[0] != first(x)[0]).any()


def test_initial_values(make):
    layer = make()
    values = np.concatenate([p.data.ravel() for p in layer.parameters()])
    bound = 1 / np.sqrt(4)
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.9 * bound
    assert abs(values.mean()) < 5 * bound / np.sqrt(3 * values.size)
    assert_same_bits(make().state_dict().values(), layer.state_dict().values())
    assert make(seed=6).weight_ih_l0.data[0, 0] != layer.weight_ih_l0.data[0, 0]


@pytest.mark.parametrize("missing", ["output", "state", "both"])
def test_gradients_left_out_are_zero(make, x, missing):
    layer = make()
    y, state = layer(x)
    zeros = tuple(map(np.zeros_like, state)) if isinstance(state, tuple) else state * 0
    dy = None if missing != "state" else y
    dstate = None if missing != "output" else state
    got = flat(layer.backward(dy, dstate))
    layer(x)
    expected = layer.backward(y * 0 if dy is None else dy, zeros if dstate is None else dstate)
    assert_same_bits(got, flat(expected))


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_backward_takes_a_read_only_gradient(layer):
    x = np.ones((5, 2, 3), np.float32)
    results = []
    for writeable in (True, False):
        rnn = layer(3, 4, seed=0)
        gradient = np.ones_like(rnn(x)[0])
        gradient.flags.writeable = writeable
        results.append(rnn.backward(gradient)[0])
    assert np.array_equal(*results)
