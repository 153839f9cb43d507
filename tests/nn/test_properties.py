"""Equalities that hold for every shape, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseq import get_backend, nn

CELLS = {
    "RNN": lambda *a, **k: nn.RNN(*a, **k),
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
    "GRU": lambda *a, **k: nn.GRU(*a, **k),
    "LSTM": lambda *a, **k: nn.LSTM(*a, **k),
    "projected": lambda I, H, **k: nn.LSTM(I, H + 1, proj_size=H, **k),  # noqa: E741
}
SHAPES = st.tuples(*[st.integers(1, 6)] * 4)  # T, B, I, H


def states(result):
    return [result[0], *(result[1] if isinstance(result[1], tuple) else [result[1]])]


def same_bits(first, second):
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def inputs(T, B, I):  # noqa: E741
    return np.random.default_rng(T + 7 * B + 49 * I).normal(size=(T, B, I)).astype(np.float32)


def stepwise_dtype():
    """The oracle rounds to float32 at the end of a call only, compiled builds after each step."""
    return "float64" if get_backend() == "oracle" else "float32"


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=20)
@given(shape=SHAPES, cut=st.integers(1, 6), layers=st.integers(1, 3))
def test_a_sequence_may_be_cut_anywhere(cell, shape, cut, layers):
    T, B, I, H = shape  # noqa: E741
    layer = CELLS[cell](I, H, num_layers=layers, dtype=stepwise_dtype(), seed=0)
    x = inputs(T, B, I).astype(layer.dtype)
    whole = layer(x)
    cut = min(cut, T)
    y, state = layer(x[:cut])
    if cut < T:
        rest, state = layer(x[cut:], state)
        y = np.concatenate([y, rest])
    assert same_bits(states((y, state)), states(whole))


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=20)
@given(shape=SHAPES, layers=st.integers(1, 3), bias=st.booleans())
def test_steps_make_the_sequence(cell, shape, layers, bias):
    T, B, I, H = shape  # noqa: E741
    layer = CELLS[cell](I, H, num_layers=layers, bias=bias, dtype=stepwise_dtype(), seed=0)
    x = inputs(T, B, I).astype(layer.dtype)
    stepper, whole = layer.eval().stepper(B), layer(x)
    y = np.stack([stepper(now) for now in x])
    assert same_bits(states((y, stepper.state)), states(whole))


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=20)
@given(shape=SHAPES)
def test_the_second_direction_is_the_first_run_backwards(cell, shape):
    T, B, I, H = shape  # noqa: E741
    both, x = CELLS[cell](I, H, bidirectional=True, seed=0), inputs(T, B, I)
    single = CELLS[cell](I, H)
    names = single.state_dict()
    y = both(x)[0]
    single.load_state_dict({name: getattr(both, name).data for name in names})
    assert same_bits([single(x)[0]], [y[:, :, :H]])
    single.load_state_dict({name: getattr(both, f"{name}_reverse").data for name in names})
    assert same_bits([single(x[::-1])[0][::-1]], [y[:, :, H:]])


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=20)
@given(shape=SHAPES, training=st.booleans())
def test_batch_first_and_unbatched_are_only_other_views(cell, shape, training):
    T, B, I, H = shape  # noqa: E741
    plain, x = CELLS[cell](I, H, bidirectional=True, seed=0), inputs(T, B, I)
    other = CELLS[cell](I, H, bidirectional=True, batch_first=True, seed=0).train(training)
    y, *finals = states(plain(x))
    got = states(other(x.swapaxes(0, 1)))
    assert same_bits([got[0].swapaxes(0, 1), *got[1:]], [y, *finals])
    alone = states(plain(x[:, 0]))
    assert same_bits(alone, [y[:, 0], *(final[:, 0] for final in finals)])


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=20)
@given(shape=SHAPES, data=st.data())
def test_full_lengths_change_nothing(cell, shape, data):
    T, B, I, H = shape  # noqa: E741
    layer, x = CELLS[cell](I, H, num_layers=2, bidirectional=True, seed=0), inputs(T, B, I)
    lengths = data.draw(st.lists(st.integers(1, T), min_size=B, max_size=B))
    assert same_bits(states(layer(x, None, [T] * B)), states(layer(x)))
    together = states(layer(x, None, lengths))
    for b, length in enumerate(lengths):
        alone = states(layer(x[:length, b]))
        assert same_bits(alone, [together[0][:length, b], *(a[:, b] for a in together[1:])])


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=20)
@given(shape=SHAPES, batch_first=st.booleans(), data=st.data())
def test_a_sequence_does_not_depend_on_its_batch(cell, shape, batch_first, data):
    """Two layers, two directions, NaN in all padding: outputs and gradients have the bits of each
    sequence alone."""
    T, B, I, H = shape  # noqa: E741
    options = {"num_layers": 2, "bidirectional": True, "seed": 0}
    layer, one = (CELLS[cell](I, H, batch_first=b, **options) for b in (batch_first, False))
    lengths = data.draw(st.lists(st.integers(1, T), min_size=B, max_size=B))
    rng = np.random.default_rng(T + 7 * B)
    x, dy = inputs(T, B, I), rng.normal(size=(T, B, 2 * H)).astype(np.float32)
    for b, length in enumerate(lengths):
        x[length:, b] = dy[length:, b] = np.nan
    given_ = [a.swapaxes(0, 1) if batch_first else a for a in (x, dy)]
    finals = states(layer(given_[0], None, lengths))
    start = [rng.normal(size=a.shape).astype(np.float32) for a in finals[1:]]
    dfinal = [rng.normal(size=a.shape).astype(np.float32) for a in finals[1:]]

    def run(m, x, dy, start, dfinal, lengths=None):
        state, dstate = (tuple(s) if len(s) == 2 else s[0] for s in (start, dfinal))
        return states(m(x, state, lengths)) + states(m.backward(dy, dstate))

    y, *rest = run(layer, *given_, start, dfinal, lengths)
    dx = rest.pop(len(start))
    if batch_first:
        y, dx = y.swapaxes(0, 1), dx.swapaxes(0, 1)
    assert y.shape == (T, B, 2 * H)
    for b, length in enumerate(lengths):
        column = np.s_[:, b : b + 1]
        alone = run(
            one, x[:length, b : b + 1], dy[:length, b : b + 1],
            [a[column].copy() for a in start], [a[column].copy() for a in dfinal],
        )  # fmt: skip
        alone_y, alone_dx = alone.pop(0), alone.pop(len(start))
        assert same_bits([alone_y, alone_dx], [y[:length, b : b + 1], dx[:length, b : b + 1]])
        assert same_bits(alone, [a[column] for a in rest])
        assert not y[length:, b].any()
        assert not dx[length:, b].any()


@pytest.mark.parametrize("cell", CELLS)
def test_an_unbatched_sequence_may_have_a_length(cell):
    layer, x = CELLS[cell](3, 4, bidirectional=True, seed=0), inputs(5, 1, 3)[:, 0]
    x[3:] = np.nan
    y, *finals = states(layer(x, None, [3]))
    dx = layer.backward(np.ones_like(y))[0]
    want_y, *want = states(layer(x[:3]))
    assert same_bits([y[:3], *finals], [want_y, *want])
    assert same_bits([dx[:3]], [layer.backward(np.ones_like(want_y))[0]])
    assert not y[3:].any()
    assert not dx[3:].any()
