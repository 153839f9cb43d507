"""Windows: each token once and in order, stream by stream."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.text import Batches, TextError

shapes = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(0, 60))


@given(shapes, st.booleans())
def test_streams_continue_from_window_to_window(shape, drop_last):
    batch_size, seq_length, extra = shape
    tokens = np.arange(batch_size * seq_length + 1 + extra, dtype=np.uint16)
    batches = Batches(tokens, batch_size, seq_length, drop_last)
    windows = list(batches)
    assert len(windows) == len(batches)
    for inputs, targets in windows:
        assert inputs.shape == targets.shape
        assert inputs.dtype == targets.dtype == np.int64
        assert inputs.flags.c_contiguous
        assert targets.flags.c_contiguous
        np.testing.assert_array_equal(targets, inputs + 1)
    streams = np.concatenate([inputs for inputs, _ in windows]).T
    np.testing.assert_array_equal(streams.ravel(), np.arange(streams.size))
    assert batches.token_count == streams.size
    lengths = [len(inputs) for inputs, _ in windows]
    assert set(lengths[:-1]) <= {seq_length}
    if drop_last:
        assert lengths[-1] == seq_length
    else:
        assert len(tokens) - 1 - streams.size < batch_size  # the smallest possible loss


@given(shapes)
def test_any_window_can_be_taken_by_its_number(shape):
    batch_size, seq_length, extra = shape
    tokens = np.random.default_rng(0).integers(0, 50, batch_size * seq_length + 1 + extra)
    batches = Batches(tokens, batch_size, seq_length)
    for index, (inputs, targets) in reversed(list(enumerate(batches))):
        np.testing.assert_array_equal(batches.window(index)[0], inputs)
        np.testing.assert_array_equal(batches.window(index)[1], targets)
    for outside in -1, len(batches):
        with pytest.raises(IndexError, match=f"got {outside}"):
            batches.window(outside)


def test_one_stream_reads_the_text_through():
    batches = Batches(np.arange(11, dtype=np.uint8), 1, 4)
    assert [inputs[:, 0].tolist() for inputs, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_text_of_one_window_suffices_and_one_token_less_does_not():
    assert len(Batches(np.zeros(31, np.uint8), 3, 10)) == 1
    with pytest.raises(TextError, match=r"at least 31 tokens .*batch size 3 .* 10 .* got 30"):
        Batches(np.zeros(30, np.uint8), 3, 10)


@pytest.mark.parametrize("name", ["batch_size", "seq_length"])
def test_sizes_are_positive(name):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        Batches(np.zeros(30, np.uint8), **{"batch_size": 1, "seq_length": 1} | {name: 0})


def test_pages_of_a_mapped_file_are_released_regularly():
    calls = []
    tokens = np.zeros((1 << 26) + 1, np.uint8)
    batches = Batches(tokens, 2, 1 << 20, release=lambda: calls.append(None))
    for _ in batches:
        pass
    assert len(calls) == 1
