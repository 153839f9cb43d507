"""Calls at which PyTorch is faster go to PyTorch."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import fastseq.torch  # noqa: E402

FASTER = "PyTorch is faster at this size"


def reason(module, x, training=False):
    """Why a call has not run on the kernels; empty where it has."""
    fastseq.torch.patch(module)
    with torch.set_grad_enabled(training):
        (row,) = fastseq.torch.explain(module, x)
    return row.why


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_run_on_kernels(kind, training, batch_first):
    x = torch.ones(2, 5, 8) if batch_first else torch.ones(5, 2, 8)
    assert reason(kind(8, 8, batch_first=batch_first), x, training) == ""
    packed = nn.utils.rnn.pack_sequence([torch.ones(5, 8), torch.ones(2, 8)])
    assert reason(kind(8, 8), packed, training) == ""


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_steps_of_cells(kind):
    small, large = torch.ones(1, 8), torch.ones(256, 128)
    assert reason(kind(8, 8), small) == FASTER
    assert reason(kind(128, 128), large) == ""
    assert reason(kind(128, 128), large, training=True) == FASTER


@pytest.mark.parametrize(
    ("kind", "steps", "training", "why"),
    [
        (nn.LSTM, 1, False, ""),
        (nn.LSTM, 1, True, ""),
        (nn.GRU, 1, False, FASTER),
        (nn.GRU, 1, True, FASTER),
        (nn.GRU, 2, True, ""),
        (nn.RNN, 2, False, FASTER),
        (nn.RNN, 2, True, FASTER),
    ],
)
def test_few_steps(kind, steps, training, why):
    assert reason(kind(8, 8), torch.ones(steps, 2, 8), training) == why


def test_a_short_step_is_pytorchs_to_the_bit():
    cell, x = nn.GRUCell(8, 8), torch.randn(2, 8)
    expected = cell(x)
    fastseq.torch.patch(cell)
    assert torch.equal(cell(x), expected)
