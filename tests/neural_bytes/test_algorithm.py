"""Models against the algorithm of the original, to the last bit where possible."""

import math
import random

import numpy as np
import pytest
from plain_models import NAMES, both, close, equal_bits, start_states, twins, window

from fastseq.neural_bytes import RNN


@both
@pytest.mark.parametrize(("V", "H"), [(5, 3), (1, 1), (40, 25), (2, 17)])
def test_same_seed_same_weights_to_the_last_bit(model, V, H):
    ours, plain = twins(model, V, H)
    assert equal_bits(ours, plain)


@both
@pytest.mark.parametrize(
    ("V", "H", "T", "clip"), [(5, 3, 4, 5.0), (1, 1, 1, 5.0), (7, 2, 9, 0.05), (3, 5, 2, 5.0)]
)
def test_training_and_sampling_are_the_original_algorithm(build, model, V, H, T, clip):
    ours, plain = twins(model, V, H, clip)
    states = plain_states = start_states(model, H)
    for update in range(4):
        inputs, targets = window(V, T, seed=update)
        loss, cache, *states = ours.forward(inputs, targets, *states)
        plain_loss, trace, plain_states = plain.forward(inputs, targets, *plain_states)
        close(loss, plain_loss)
        close(states, plain_states)
        grads, plain_grads = ours.backward(cache), plain.backward(trace)
        if update % 2:  # gradients unread and read
            for gradient, expected in zip(grads, plain_grads, strict=True):
                close(gradient, expected)
        ours.update(grads)
        plain.update(plain_grads)
    memories = [getattr(ours, f"m{n}") for n in plain.names] if model is RNN else ours.memory
    for name, memory in zip(plain.names, memories, strict=True):
        close(getattr(ours, name), plain.p[name])
        close(memory, plain.m[name])
    random.seed(3)
    expected = plain.sample(0, 30, *plain_states), random.getstate()
    random.seed(3)
    assert (ours.sample(0, 30, *states), random.getstate()) == expected


@pytest.mark.parametrize("ids", [[1, -1, 2], [9, 5, 0], [5, 5, 5]])
def test_rnn_with_indices_out_of_range(build, ids):
    ours, plain = twins(RNN, 5, 3)
    h = start_states(RNN, 3)
    for inputs, targets in ((ids, [0, 1, 2]), ([0, 1, 2], ids)):
        loss, cache, last = ours.forward(inputs, targets, *h)
        plain_loss, trace, (plain_last,) = plain.forward(inputs, targets, *h)
        close(loss, plain_loss)
        close(last, plain_last)
        for gradient, expected in zip(ours.backward(cache), plain.backward(trace), strict=True):
            close(gradient, expected)


@both
def test_gradients_are_those_of_the_loss(model):
    """Central differences, independent of the backward pass in plain Python."""
    ours, _ = twins(model, 4, 3)
    inputs, targets = [0, 2, 2, 1, 2], [2, 2, 1, 0, 3]
    if model is RNN:
        inputs[1], targets[2] = -1, 4
    states, step = start_states(model, 3), 1e-5
    grads = ours.backward(ours.forward(inputs, targets, *states)[1])
    for name, gradient in zip(NAMES[model], grads, strict=True):
        parameter = getattr(ours, name)
        for at in np.ndindex(parameter.shape):
            middle, losses = parameter[at], []
            for side in (step, -step):
                parameter[at] = middle + side
                losses.append(ours.forward(inputs, targets, *states)[0])
            parameter[at] = middle
            slope = (losses[0] - losses[1]) / (2 * step)
            assert gradient[at] == pytest.approx(slope, rel=1e-6, abs=1e-8), (name, at)


@both
def test_loss_of_an_impossible_token_is_finite(model):
    ours, _ = twins(model, 3, 2)
    ours.c[0][0] = 1e4
    states = start_states(model, 2)
    loss, cache, *_ = ours.forward([0], [1], *states)
    assert loss == pytest.approx(-math.log(1e-12))
    assert ours.backward(cache)[-1].ravel().tolist() == [1.0, -1.0, 0.0]  # softmax − onehot


@both
def test_empty_window(build, model):
    ours, _ = twins(model, 3, 2)
    states = start_states(model, 2)
    loss, cache, *last = ours.forward([], [], *states)
    assert (loss, last) == (0.0, states)
    assert not any(gradient.any() for gradient in ours.backward(cache))
