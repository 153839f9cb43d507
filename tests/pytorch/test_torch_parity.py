"""Patched modules give what PyTorch's own give: outputs, states, layouts and all gradients."""

import pytest

torch = pytest.importorskip("torch")

from configurations import check_equal, random_cell, random_layer  # noqa: E402

import fastseq.torch  # noqa: E402
from fastseq.torch import functions  # noqa: E402

# PyTorch says so of its own layers.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
MAKERS = {"layer": random_layer, "cell": random_cell}


def compare(make, seed):
    """One random case on both sides; whether the kernels have run it."""
    case = make(seed)
    expected = case.run()
    ran = []
    with fastseq.torch.enabled(), functions.watch(lambda name, why: ran.append(why)):
        got = case.run()
    check_equal(expected, got, next(case.module.parameters()).dtype)
    return ran == [None]


@pytest.mark.parametrize("first", range(0, 1000, 50))
@pytest.mark.parametrize("kind", MAKERS)
def test_random_configurations(kind, first, every_size):
    for seed in range(first, first + 50 if kind == "layer" else first + 20):
        assert compare(MAKERS[kind], seed), seed
