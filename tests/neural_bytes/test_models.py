"""Operations that a script may use, and input that a model refuses."""

import copy
import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_models import (
    NAMES,
    both,
    close,
    equal_bits,
    start_states,
    twins,
    window,
    zeros,
)

from fastseq.neural_bytes import LSTM, RNN
from fastseq.neural_bytes._model import pick
from fastseq.neural_bytes._random import uniforms

# -- operations of a script ------------------------------------------------------------------


@both
def test_parameters_read_and_write_like_nested_lists(model):
    ours, plain = twins(model, 5, 3)
    states = start_states(model, 3)
    for name in plain.names:
        matrix = getattr(ours, name)
        assert len(matrix) == len(plain.p[name])
        assert [list(row) for row in matrix] == plain.p[name]
        matrix[0][-1] = plain.p[name][0][-1] = 0.75
        assert getattr(ours, name)[0][-1] == 0.75
    close(ours.forward([1, 4], [4, 0], *states)[0], plain.forward([1, 4], [4, 0], *states)[0])


@both
def test_assigned_nested_lists_are_copied(model):
    ours, plain = twins(model, 5, 3)
    other = model(5, 3)
    for name in plain.names:
        setattr(other, name, plain.p[name])
    assert equal_bits(other, plain)
    other.V = ours.V
    other.V[0][0] += 1
    assert equal_bits(ours, plain)
    with pytest.raises(ValueError, match=r"V: expected shape \(5, 3\), got \(3, 5\)"):
        ours.V = zeros(3, 5)


@both
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_trains_alike_and_independently(model, duplicate):
    ours, _ = twins(model, 5, 3)
    inputs, targets = window(5, 6)
    states = start_states(model, 3)
    ours.update(ours.backward(ours.forward(inputs, targets, *states)[1]))
    twin = duplicate(ours)
    for each in (ours, twin):
        each.update(each.backward(each.forward(inputs, targets, *states)[1]))
    loss = ours.forward(inputs, targets, *states)[0]
    assert loss == twin.forward(inputs, targets, *states)[0]
    twin.V[:] = 0
    assert ours.forward(inputs, targets, *states)[0] == loss


@both
def test_caches_are_independent_and_can_be_used_again(model):
    ours, _ = twins(model, 6, 3)
    states = start_states(model, 3)
    cache = ours.forward(*window(6, 5, seed=1), *states)[1]
    first = ours.backward(cache)
    ours.backward(ours.forward(*window(6, 5, seed=2), *states)[1])
    for a, b in zip(first, ours.backward(cache), strict=True):
        assert a.tolist() == b.tolist()


@both
@pytest.mark.parametrize(
    "form", [tuple, list, lambda grads: [g.tolist() for g in grads], lambda grads: grads[:]]
)
def test_gradients_may_come_in_any_form(model, form):
    one, _ = twins(model, 9, 3)
    other, _ = twins(model, 9, 3)
    inputs, targets = window(9, 4)
    for ours, change in ((one, lambda grads: grads), (other, form)):
        for _ in range(2):
            cache = ours.forward(inputs, targets, *start_states(model, 3))[1]
            ours.update(change(ours.backward(cache)))
    for name in NAMES[model]:
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@both
def test_gradients_changed_by_the_script_count(model):
    ours, plain = twins(model, 6, 3)
    inputs, targets, states = [1, 1], [2, 2], start_states(model, 3)
    grads = ours.backward(ours.forward(inputs, targets, *states)[1])
    expected = plain.backward(plain.forward(inputs, targets, *states)[1])
    for gradient, plain_gradient in zip(grads, expected, strict=True):
        gradient[0][-1] = plain_gradient[0][-1] = 0.5  # token 5's column: not in the window
    ours.update(grads)
    plain.update(expected)
    for name in plain.names:
        close(getattr(ours, name), plain.p[name])


@both
def test_unread_input_gradients_stay_short(model):
    ours, _ = twins(model, 50, 3)
    inputs = [3, 7, 3]
    grads = ours.backward(ours.forward(inputs, [1, 2, 3], *start_states(model, 3))[1])
    ours.update(grads)
    for k, name in enumerate(NAMES[model]):
        short = grads.unread(k)
        assert (short is not None) == name.startswith("U")
        assert short is None or short.rows.shape == (2, 3)
    assert len(grads) == len(NAMES[model])
    assert all(isinstance(gradient, np.ndarray) for gradient in grads)
    assert not any(grads.unread(k) for k in range(len(grads)))


def test_memories_can_be_restored_from_nested_lists():
    results = []
    for restored in (False, True):
        lstm, rnn = twins(LSTM, 4, 3)[0], twins(RNN, 4, 3)[0]
        for ours in (lstm, rnn):
            states = start_states(type(ours), 3)
            for _ in range(2):
                ours.update(ours.backward(ours.forward([0, 1], [1, 2], *states)[1]))
                if restored:
                    lstm.memory = [np.asarray(m).tolist() for m in lstm.memory]
                    rnn.mU, rnn.mc = rnn.mU.tolist(), rnn.mc.tolist()
        results.append([np.asarray(m).tolist() for m in (*lstm.memory, rnn.mU, rnn.mc, rnn.U)])
    assert results[0] == results[1]


@both
def test_samples_start_from_zero_and_leave_the_states_alone(model):
    ours, _ = twins(model, 5, 3)
    states = [zeros(3) for _ in start_states(model, 3)]
    random.seed(1)
    without = ours.sample(2, 20)
    random.seed(1)
    assert ours.sample(2, 20, *map(np.array, states)) == without
    random.seed(1)
    assert ours.sample(2, 20, *states) == without
    assert states == [zeros(3) for _ in states]
    assert ours.sample(2, 0) == []
    assert all(type(token) is int and 0 <= token < 5 for token in without)


@given(
    logits=st.lists(st.floats(-20, 20), min_size=1, max_size=9),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_pick_is_the_first_index_whose_mass_exceeds(logits, uniform):
    index = pick(np.array(logits), uniform)
    e = [math.exp(z) for z in logits]
    before, upto = sum(e[:index]) / sum(e), sum(e[: index + 1]) / sum(e)
    no_mass_exceeds = index == 0 and uniform > 1 - 1e-12  # by rounding
    assert no_mass_exceeds or before - 1e-12 <= uniform < upto + 1e-12


def test_pick_is_the_first_where_no_mass_exceeds():
    assert pick(np.log([0.1] * 10), np.nextafter(1, 0)) == 0


def test_pick_without_any_index_is_0():
    assert pick(np.zeros(3), 1.0) == 0


# -- random numbers ---------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**64), before=st.integers(0, 700), counts=st.lists(st.integers(0, 900))
)
def test_uniforms_continue_the_state_of_random(seed, before, counts):
    random.seed(seed)
    random.gauss(0, 1)  # keeps a second number, which must survive
    for _ in range(before):
        random.random()
    state = random.getstate()
    expected = [[random.random() for _ in range(count)] for count in counts]
    after = random.gauss(0, 1), random.getrandbits(70), random.getstate()
    random.setstate(state)
    assert [uniforms(count).tolist() for count in counts] == expected
    assert (random.gauss(0, 1), random.getrandbits(70), random.getstate()) == after


# -- errors -----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("inputs", "targets", "h", "error", "message"),
    [
        ([0, 1], [1], zeros(3), ValueError, "targets: expected 2 as there are inputs, got 1"),
        ([0.5], [1], zeros(3), TypeError, "inputs: expected integers, got float64"),
        ([0], [[1]], zeros(3), ValueError, "targets: expected a flat list"),
        ([0], [1], zeros(2), ValueError, r"hprev: expected shape \(3, 1\), got \(2, 1\)"),
        ([0], [1], [[1], [2, 3], [4]], ValueError, "hprev: expected rows of numbers"),
    ],
)
def test_forward_refuses(model, inputs, targets, h, error, message):
    ours = model(5, 3)
    with pytest.raises(error, match=message):
        ours.forward(inputs, targets, h)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        ([0, 5], [0, 0], "inputs: expected 0 <= id < 5, got 5 at position 1"),
        ([0, 0], [-1, 0], "targets: expected 0 <= id < 5, got -1 at position 0"),
    ],
)
def test_lstm_refuses_indices_out_of_range(inputs, targets, message):
    with pytest.raises(IndexError, match=message):
        LSTM(5, 3).forward(inputs, targets, zeros(3))


@both
def test_refused_gradients_change_nothing(model):
    ours, plain = twins(model, 5, 3)
    grads = list(ours.backward(ours.forward([0], [1], *start_states(model, 3))[1]))
    with pytest.raises(ValueError, match=f"grads: expected {len(grads)} matrices, got 1"):
        ours.update(grads[:1])
    with pytest.raises(ValueError, match=r"dc: expected shape \(5, 1\), got \(1, 5\)"):
        ours.update([*grads[:-1], grads[-1].T])
    assert equal_bits(ours, plain)


@both
def test_sizes_and_seeds_are_checked(model):
    with pytest.raises(ValueError, match="vocab_size: expected at least 1, got 0"):
        model(0)
    with pytest.raises(TypeError, match=r"hidden_size: expected an integer, got 2\.5"):
        model(3, 2.5)
    with pytest.raises(IndexError, match="seed_ix: expected 0 <= id < 3, got 3"):
        model(3, 2).sample(3, 1)
