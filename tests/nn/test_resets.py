"""Resets: episodes in one call, and the same episodes one by one."""

import itertools

import numpy as np
import pytest
from test_recurrent import CELLS, assert_same_bits, flat

from fastseq import nn

T, B = 7, 3
ENDS = [[3, 4], [], [0, 5]]  # of each sequence the steps before which its state is set to zero
every_kind = pytest.mark.parametrize("name", CELLS)


@pytest.fixture
def x(rng):
    return rng.normal(size=(T, B, 3)).astype(np.float32)


@pytest.fixture
def resets():
    marks = np.zeros((T, B), bool)
    for b, steps in enumerate(ENDS):
        marks[steps, b] = True
    return marks


def make(name, **options):
    return CELLS[name](num_layers=2, seed=5, **options)


def everything(layer, x, state=None, lengths=None, resets=None):
    """Outputs, gradients of the inputs, gradients of the parameters."""
    layer.zero_grad()
    out = flat(layer(x, state, lengths, resets))
    dy = np.linspace(-1, 1, out[0].size, dtype=out[0].dtype).reshape(out[0].shape)
    grads = flat(layer.backward(dy))
    return [*out, *grads, *(p.grad.copy() for p in layer.parameters())]


@every_kind
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_call_with_resets_equals_its_episodes(build, name, x, resets, training, bidirectional):
    layer = make(name, bidirectional=bidirectional).train(training)
    y, *end = flat(layer(x, resets=resets))
    dx = layer.backward(np.ones_like(y))[0] if training else None
    for b, steps in enumerate(ENDS):
        edges = sorted({0, *steps, T})
        for start, stop in itertools.pairwise(edges):
            part, *final = flat(layer(x[start:stop, b : b + 1]))
            assert_same_bits([y[start:stop, b]], [part[:, 0]])
            if training:
                dpart, *_ = layer.backward(np.ones_like(part))
                assert_same_bits([dx[start:stop, b]], [dpart[:, 0]])
            if stop == T and not bidirectional:
                assert_same_bits([a[:, b] for a in end], [a[:, 0] for a in final])


@every_kind
def test_no_gradient_passes_a_reset(build, name, x, resets):
    """That of the initial state ends at the first step where it is set to zero."""
    layer, resets[0, 2] = make(name), True
    _, *state = flat(layer(x))
    layer(x, tuple(state) if len(state) == 2 else state[0], None, resets)
    _, *initial = flat(layer.backward(np.ones((T, B, layer._output_size), np.float32)))
    for gradient in initial:
        assert gradient[:, :2].any(axis=(0, 2)).all()
        assert not gradient[:, 2].any()


@every_kind
@pytest.mark.parametrize("lengths", [None, [4, 7, 2]])
def test_resets_at_no_step_change_no_bit(build, name, x, lengths):
    layer = make(name, bidirectional=True)
    none = np.zeros((T, B), bool)
    want = everything(layer, x, None, lengths)
    assert_same_bits(everything(layer, x, None, lengths, none), want)


@every_kind
def test_resets_in_the_padding_have_no_influence(build, name, x, resets):
    layer, lengths = make(name, bidirectional=True), [4, 7, 2]
    want = everything(layer, x, None, lengths, resets & (np.arange(T)[:, None] < lengths))
    noise = resets | (np.arange(T)[:, None] >= lengths)
    assert_same_bits(everything(layer, x, None, lengths, noise), want)


@every_kind
def test_layouts_of_resets(name, x, resets):
    layer = make(name, bidirectional=True)
    want = everything(layer, x, None, None, resets)
    for same in (resets.tolist(), np.asfortranarray(resets), resets[::-1].copy()[::-1]):
        assert_same_bits(everything(layer, x, None, None, same), want)
    layer.batch_first = True
    y, _ = layer(x.swapaxes(0, 1), resets=resets.T)
    assert_same_bits([y.swapaxes(0, 1)], want[:1])
    layer.batch_first = False
    y, _ = layer(x[:, 2], resets=resets[:, 2])
    assert_same_bits([y], [want[0][:, 2]])


@every_kind
def test_backward_goes_by_the_resets_that_forward_saw(name, x, resets):
    layer, mine = make(name), resets.copy()
    want = everything(layer, x, None, None, resets)
    layer.zero_grad()
    y, _ = layer(x, None, None, mine)
    mine[...] = ~mine
    dy = np.linspace(-1, 1, y.size, dtype=y.dtype).reshape(y.shape)
    got = [*flat(layer.backward(dy)), *(p.grad for p in layer.parameters())]
    assert_same_bits(got, want[-len(got) :])


@every_kind
def test_wrong_resets(name, x):
    layer = make(name)
    with pytest.raises(TypeError, match="resets: expected bool, got dtype float32"):
        layer(x, resets=np.zeros((T, B), np.float32))
    with pytest.raises(ValueError, match=r"resets: expected shape \(7, 3\), got \(3, 7\)"):
        layer(x, resets=np.zeros((B, T), bool))
    with pytest.raises(ValueError, match=r"resets: expected shape \(7,\), got \(7, 1\)"):
        layer(x[:, 0], resets=np.zeros((T, 1), bool))


def test_the_state_of_an_lstm_is_zero_as_a_pair():
    """The cell's state, too: with it, an output after a reset would differ."""
    lstm, x = nn.LSTM(3, 4, seed=0).eval(), np.ones((4, 1, 3), np.float32)
    y, (_, c) = lstm(x, resets=np.array([[0], [1], [0], [1]], bool))
    first, (_, c_first) = lstm(x[:1])
    assert_same_bits([y[1], y[3], c], [first[0], first[0], c_first])
