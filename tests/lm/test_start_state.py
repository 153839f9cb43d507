"""The state in which texts start."""

import numpy as np
import pytest

from fastseq.lm import LanguageModel
from fastseq.lm.start import CONTEXT, STARTS, mean_state, start_contexts
from fastseq.text import Corpus, Vocabulary
from fastseq.training import Trainer, TrainingConfig

LINES = Vocabulary.characters("ab\n")
TEXT = "ab\nb\naab\n" * 40


def cross_entropy(lm, probabilities):
    """Of the first character of a text, in nats."""
    log_probs = lm.step(np.array([lm.vocabulary.eod_id]), lm.start_state())[0][0]
    return -sum(p * log_probs[lm.vocabulary.encode(c)[0]] for c, p in probabilities.items())


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_it_is_the_mean_of_the_states_before_starts(cell, monkeypatch):
    monkeypatch.setattr("fastseq.lm.start.STARTS", len(TEXT))  # all that there are
    lm = LanguageModel(LINES, cell=cell, hidden_size=5, num_layers=2, seed=1)
    ids = LINES.encode(TEXT)
    ends = np.flatnonzero(ids == LINES.encode("\n")[0])
    ends = ends[ends >= CONTEXT]
    read = np.stack([ids[at - CONTEXT : at] for at in ends], axis=1)
    h, c = lm.advance(read)
    found = mean_state(lm, start_contexts(ids.astype(np.uint8), LINES.encode("\n")[0]))
    np.testing.assert_allclose(found.h, h.mean(axis=1, keepdims=True), rtol=1e-5)
    assert (found.c is None) == (c is None)
    assert found.h.shape == (2, 1, 5)
    assert np.ptp(h, axis=1).max() > 0.01


def test_a_start_that_occurs_once_is_found():
    lm = LanguageModel(LINES, hidden_size=5, seed=1)
    ids = LINES.encode("ab" * 300 + "\n" + "ba" * 300)
    np.testing.assert_array_equal(start_contexts(ids, ids[600])[:, 0], ids[600 - CONTEXT : 600])
    lm.learn_start(ids)
    expected = lm.advance(ids[600 - CONTEXT : 600, None])
    np.testing.assert_array_equal(lm.start.h, expected.h)


@pytest.mark.parametrize("block", [7, 50, 1 << 16])
def test_every_part_of_a_long_text_counts(monkeypatch, block):
    monkeypatch.setattr("fastseq.lm.start._BLOCK", block)
    ids, (a, b, end) = np.tile(LINES.encode("a" * 19 + "\n"), 1000), LINES.encode("ab\n")
    half = ids[: len(ids) // 2]
    half[half == a] = b
    released = []
    read = start_contexts(ids, end, lambda: released.append(None))
    assert read.shape == (CONTEXT, STARTS)
    assert (read[-1] == b).sum() == pytest.approx(STARTS / 2, abs=2)
    assert released


def test_every_end_of_few_long_documents_is_found():
    ids = np.tile(np.append(np.ones(3000, np.int64), 3), 9)
    assert start_contexts(ids, 3).shape == (CONTEXT, 9)


@pytest.mark.parametrize("text", ["", "\n", "a\n", "ab" * 100])
def test_texts_without_a_usable_start_start_from_zeros(text):
    lm = LanguageModel(LINES, hidden_size=5)
    lm.learn_start(LINES.encode(TEXT))
    lm.learn_start(LINES.encode(text))
    if lm.start is None:
        assert not lm.start_state().h.any()
    else:
        assert text == "a\n"


def test_a_vocabulary_without_ends_starts_from_zeros():
    lm = LanguageModel(Vocabulary.characters("ab"), hidden_size=5)
    lm.learn_start([1, 2, 1, 1, 2] * 50)
    assert lm.start is None


def test_dropout_and_random_numbers_are_left_alone():
    lm = LanguageModel(LINES, hidden_size=5, dropout=0.5)
    before = lm.random.bit_generator.state
    lm.learn_start(LINES.encode(TEXT))
    assert lm.random.bit_generator.state == before


def test_documents_start_like_those_of_the_training_text(tmp_path):
    names = [start + end for start in "aaabbc" for end in ("xyxy", "zz", "yxyxyx", "xz")]
    order = np.random.default_rng(0).permutation(len(names) * 20) % len(names)
    for n, name in enumerate(order):
        (tmp_path / f"{n:04}.txt").write_text(names[name])
    corpus = Corpus.from_files(tmp_path, Vocabulary.characters, documents=True)
    lm = LanguageModel(corpus.vocabulary, hidden_size=32, embedding_size=16, seed=3)
    config = TrainingConfig(steps=100, batch_size=8, seq_length=32, learning_rate=0.01)
    Trainer(lm, corpus, config, tmp_path / "run", console=False).fit()
    first = {"a": 1 / 2, "b": 1 / 3, "c": 1 / 6}
    ideal = -sum(p * np.log(p) for p in first.values())
    learnt = cross_entropy(lm, first)
    assert learnt == cross_entropy(LanguageModel.load(tmp_path / "run"), first)
    lm.learn_start(corpus.tokens())
    assert learnt == cross_entropy(lm, first)
    lm.start = None
    assert ideal <= learnt < ideal + 0.04 < ideal + 0.06 < cross_entropy(lm, first)
