"""One time step after the other: one stream, states, wrong arguments."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest

from fastseq import nn

CELLS = {
    "RNN": nn.RNN,
    "GRU": nn.GRU,
    "LSTM": nn.LSTM,
    "projected": lambda I, H, **k: nn.LSTM(I, H, proj_size=H - 1, **k),  # noqa: E741
}


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("cell", CELLS)
def test_one_stream(cell, build):
    # The oracle rounds to float32 where a call ends: for a layer after all steps.
    equal = partial(np.allclose, rtol=1e-6) if build == "oracle" else np.array_equal
    layer = CELLS[cell](3, 4, num_layers=2, seed=0).eval()
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    y, state = layer(x)
    stepper = layer.stepper()
    assert equal([stepper(now) for now in x], y)
    for got, want in zip(parts(stepper.state), parts(state), strict=True):
        assert got.shape == want.shape
        assert equal(got, want)


def test_one_stream_is_a_batch_of_one(build):
    layer, x = nn.LSTM(3, 4, seed=0), np.ones(3, np.float32)
    assert np.array_equal(layer.stepper()(x), layer.stepper(1)(x[None])[0])


def test_state_goes_out_and_in():
    layer = nn.LSTM(3, 4, seed=0).eval()
    stepper, x = layer.stepper(2), np.ones((2, 3), np.float32)
    first = stepper(x)
    kept = stepper.state
    second = stepper(x)
    stepper.reset(kept)
    assert np.array_equal(stepper(x), second)
    stepper.reset()
    assert np.array_equal(stepper(x), first)
    assert np.array_equal(layer.stepper(2)(x), first)


@pytest.mark.parametrize("cell", CELLS)
def test_some_streams_begin_anew(cell, build):
    layer, x = CELLS[cell](3, 4, num_layers=2, seed=0).eval(), np.ones((3, 3), np.float32)
    stepper, rows = layer.stepper(3), np.array([True, False, True])
    first = stepper(x)
    kept = stepper.state
    second = stepper(x)
    stepper.reset(rows=rows)
    for now, old in zip(parts(stepper.state), parts(kept), strict=True):
        assert not now[:, rows].any()
        assert not np.array_equal(now[:, 1], old[:, 1])
    stepper.reset(kept, np.array([False, False, True]))
    third = stepper(x)
    assert np.array_equal(third[0], first[0])
    assert np.array_equal(third[2], second[2])
    assert not np.array_equal(third[1], second[1])


def test_weights_are_those_of_the_moment():
    layer = nn.GRU(3, 4, seed=0).eval()
    x = np.ones(3, np.float32)
    stepper, expected = layer.stepper(), layer.stepper()(x)
    for parameter in layer.parameters():
        parameter.data[...] = 0
    assert np.array_equal(stepper(x), expected)
    assert not np.array_equal(layer.stepper()(x), expected)


def test_input_in_any_layout():
    layer = nn.RNN(3, 4, seed=0).eval()
    wide = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    plain = np.ascontiguousarray(wide.T[:, ::2])
    plain.flags.writeable = False
    expected = layer.stepper(2)(plain)
    assert np.array_equal(layer.stepper(2)(wide.T[:, ::2]), expected)
    assert np.array_equal(layer.stepper(2)(plain.astype(">f4")), expected)


def test_wrong_arguments():
    layer = nn.LSTM(3, 4)
    stepper = layer.stepper(2)
    with pytest.raises(TypeError, match="x: expected a NumPy array, got list"):
        stepper([[0.0] * 3] * 2)
    with pytest.raises(RuntimeError, match=r"x: expected shape \(2, 3\), got \(3,\)"):
        stepper(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="x: expected dtype float32, got float64"):
        stepper(np.zeros((2, 3)))
    with pytest.raises(TypeError, match="state: expected a pair of arrays, got ndarray"):
        stepper.reset(np.zeros((1, 2, 4), np.float32))
    with pytest.raises(RuntimeError, match=r"state: expected shape \(1, 2, 4\), got \(2, 4\)"):
        stepper.reset((np.zeros((1, 2, 4), np.float32), np.zeros((2, 4), np.float32)))
    with pytest.raises(TypeError, match="rows: expected bool, got dtype int64"):
        stepper.reset(rows=np.array([0, 1]))
    with pytest.raises(RuntimeError, match=r"rows: expected shape \(2,\), got \(3,\)"):
        stepper.reset(rows=np.zeros(3, bool))
    with pytest.raises(RuntimeError, match="rows: expected None, since the stepper has no batch"):
        layer.stepper().reset(rows=np.zeros(1, bool))
    with pytest.raises(ValueError, match="batch_size must be greater than zero, got 0"):
        layer.stepper(0)
    with pytest.raises(TypeError, match="batch_size should be of type int, got: str"):
        layer.stepper("2")
    with pytest.raises(RuntimeError, match="stepper: expected one direction"):
        nn.GRU(3, 4, bidirectional=True).stepper()


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_packed_weights_stay_in_their_process(copied):
    """Another machine's kernels pack otherwise."""
    with pytest.raises(TypeError, match="Stepper: cannot be copied or pickled"):
        copied(nn.LSTM(3, 4).stepper())
