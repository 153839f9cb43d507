"""The longest copied run, against a quadratic search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseq.lm import novelty
from fastseq.lm.novelty import CopiedRun, longest_copied_run

ids = st.lists(st.integers(0, 2), max_size=40)


def brute_force(sample, text):
    return max(
        (
            length
            for i in range(len(sample))
            for length in range(1, len(sample) - i + 1)
            if any(text[j : j + length] == sample[i : i + length] for j in range(len(text)))
        ),
        default=0,
    )


@given(ids, ids)
@settings(max_examples=150)
def test_matches_brute_force(sample, text):
    run = longest_copied_run(np.array(sample, np.int64), np.array(text, np.uint8))
    assert run.length == brute_force(sample, text)
    i, j, n = run.sample_start, run.text_start, run.length
    assert sample[i : i + n] == text[j : j + n]


@pytest.mark.parametrize("place", [0, 1, 63, 64, 65, 300, 991])
def test_across_block_borders(monkeypatch, place):
    monkeypatch.setattr(novelty, "_BLOCK", 64)
    rng = np.random.default_rng(0)
    text = rng.integers(0, 50_000, 1000, dtype=np.uint16)
    sample = rng.integers(50_000, 60_000, 30)
    sample[7:16] = text[place : place + 9]
    assert longest_copied_run(sample, text) == CopiedRun(9, 7, place)


def test_whole_sample_copied():
    text = np.tile(np.arange(97, dtype=np.uint8), 20)
    assert longest_copied_run(text[100:700].astype(np.int64), text).length == 600


def test_refuses_what_is_not_a_stream():
    with pytest.raises(ValueError, match="sample: expected integers"):
        longest_copied_run(np.zeros(3), np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="text: expected integers"):
        longest_copied_run(np.zeros(3, int), np.zeros((2, 2), int))
