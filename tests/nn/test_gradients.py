"""Gradients against central differences in float64, without any other library."""

import copy

import numpy as np
import pytest

from fastseq import nn

CASES = [
    ("RNN", {"nonlinearity": "tanh"}),
    ("RNN", {"nonlinearity": "relu", "bidirectional": True}),
    ("GRU", {"num_layers": 2}),
    ("GRU", {"bidirectional": True, "bias": False, "batch_first": True}),
    ("LSTM", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    ("LSTM", {"num_layers": 3, "dropout": 0.5}),
]
T, B, I, H = 3, 2, 2, 3  # noqa: E741


def numerical(loss, array, step=1e-6):
    """d loss() / d array, element by element."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        before = array[index]
        array[index] = before + step
        above = loss()
        array[index] = before - step
        below = loss()
        array[index] = before
        gradient[index] = (above - below) / (2 * step)
    return gradient


@pytest.mark.parametrize("lengths", [None, [3, 1]], ids=["full", "lengths"])
@pytest.mark.parametrize("resets", [None, [[0, 1, 0], [1, 0, 1]]], ids=["", "resets"])
@pytest.mark.parametrize(("cell", "options"), CASES, ids=str)
def test_recurrent(cell, options, resets, lengths, rng):
    layer = getattr(nn, cell)(I, H, dtype="float64", seed=3, **options)
    K = layer.num_layers * (1 + layer.bidirectional)
    x = rng.normal(size=(B, T, I) if layer.batch_first else (T, B, I))
    h0, c0 = rng.normal(size=(K, B, layer.proj_size or H)), rng.normal(size=(K, B, H))
    state = (h0, c0) if cell == "LSTM" else h0

    if resets is not None:
        resets = np.array(resets, bool) if layer.batch_first else np.array(resets, bool).T

    def run(module):
        y, final = module(x, state, lengths, resets)
        return [y, *final] if cell == "LSTM" else [y, final]

    weights = [rng.normal(size=out.shape) for out in run(copy.deepcopy(layer))]

    def loss():  # of a copy, so that dropout draws the same numbers each time
        return sum((o * w).sum() for o, w in zip(run(copy.deepcopy(layer)), weights, strict=True))

    expected = {name: numerical(loss, p.data) for name, p in layer.named_parameters()}
    inputs = {"x": x, "h0": h0} | ({"c0": c0} if cell == "LSTM" else {})
    expected |= {name: numerical(loss, array) for name, array in inputs.items()}
    run(layer)
    dx, initial = layer.backward(weights[0], tuple(weights[1:]) if cell == "LSTM" else weights[1])
    got = {name: p.grad for name, p in layer.named_parameters()} | {"x": dx}
    got |= dict(zip(("h0", "c0"), initial if cell == "LSTM" else [initial], strict=False))
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(got[name], gradient, atol=1e-7, err_msg=name)


def test_stack_of_layers(rng):
    ids = rng.integers(0, 5, (3, 2))
    embedding = nn.Embedding(5, 4, padding_idx=1, dtype="float64", seed=0)
    top = nn.Sequential(
        nn.Linear(4, 3, dtype="float64", seed=1),
        nn.Dropout(0.0),
        nn.Linear(3, 2, bias=False, dtype="float64", seed=2),
    )
    weight = rng.normal(size=(3, 2, 2))

    def loss():
        return (top(embedding(ids)) * weight).sum()

    loss()
    embedding.backward(top.backward(weight))
    for name, p in top.named_parameters():
        np.testing.assert_allclose(p.grad, numerical(loss, p.data), atol=1e-7, err_msg=name)
    expected = numerical(loss, embedding.weight.data)
    expected[1] = 0  # the padding row
    np.testing.assert_allclose(embedding.weight.grad, expected, atol=1e-7)
