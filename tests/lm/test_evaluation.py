"""Scores of texts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.lm import LanguageModel
from fastseq.lm.streams import Streams
from fastseq.text import Vocabulary

CHARACTERS = Vocabulary.characters("abcd \n")
TEXT = "abca dcb\nab aa?"


@pytest.fixture
def lm():
    return LanguageModel(CHARACTERS, hidden_size=4, seed=1)


def test_score_is_what_step_says(lm):
    ids = CHARACTERS.encode(TEXT)
    log_probs, state = lm.step(CHARACTERS.encode("\n"))
    for token, found in zip(ids, lm.score(TEXT), strict=True):
        assert found == pytest.approx(log_probs[0, token], abs=1e-5)
        log_probs, state = lm.step(np.array([token]), state)


def test_long_texts_are_scored_in_windows(lm, monkeypatch):
    whole = lm.score(TEXT)
    monkeypatch.setattr("fastseq.lm.evaluation.WINDOW", 4)
    np.testing.assert_allclose(lm.score(TEXT), whole, atol=1e-6)


def test_a_text_is_a_document_to_its_end():
    vocabulary = CHARACTERS.with_documents()
    lm = LanguageModel(vocabulary, hidden_size=4, seed=1)
    eod = vocabulary.eod_id
    whole = lm.evaluate(TEXT)
    around = lm.evaluate(np.array([eod, *vocabulary.encode(TEXT), eod]))
    assert whole.nats_per_token == around.nats_per_token
    assert whole.tokens == around.tokens == len(TEXT) + 1
    assert len(lm.score(TEXT)) == len(TEXT)


@pytest.mark.parametrize("seq_length", [1, 4, 100])
@pytest.mark.parametrize("starts", [False, True])
def test_the_score_of_a_whole_text_is_the_mean_of_its_tokens(lm, seq_length, starts):
    if starts:
        lm.learn_start(CHARACTERS.encode("ab\ncd\n" * 9))
    found = lm.evaluate(TEXT, seq_length=seq_length)
    nats = -lm.score(TEXT).mean()
    assert found.nats_per_token == pytest.approx(nats, rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(nats), rel=1e-6)
    assert found.unknown_rate == pytest.approx(1 / len(TEXT))
    bits = nats / math.log(2) + math.log2(0x110000) / len(TEXT)  # one unknown character
    assert found.bits_per_character == pytest.approx(bits, rel=1e-6)
    assert found.tokens == len(TEXT)


@pytest.mark.parametrize("seq_length", [1, 4, 100])
def test_the_first_of_some_ids_is_given(lm, seq_length):
    lm.learn_start(CHARACTERS.encode("ab\ncd\n" * 9))  # without effect on a part of a text
    ids = CHARACTERS.encode(TEXT)
    found = lm.evaluate(ids, seq_length=seq_length)
    nats = lm.loss(ids[:-1, None], ids[1:, None])[0] / (len(ids) - 1)
    assert found.nats_per_token == pytest.approx(nats, rel=1e-6)
    assert found.tokens == len(ids) - 1


def test_without_carried_state_each_window_starts_from_zero(lm):
    ids = CHARACTERS.encode(TEXT)
    parts = [lm.loss(ids[i : i + 7, None], ids[i + 1 : i + 8, None])[0] for i in (0, 7)]
    found = lm.evaluate(ids, carry_state=False, seq_length=7)
    assert found.nats_per_token == pytest.approx(sum(parts) / 14, rel=1e-6)


def test_streams(lm):
    ids = CHARACTERS.encode(TEXT)
    streams = [lm.loss(ids[i : i + 7, None], ids[i + 1 : i + 8, None])[0] for i in (0, 7)]
    found = lm.evaluate(ids, batch_size=2, seq_length=3)
    assert found.nats_per_token == pytest.approx(sum(streams) / 14, rel=1e-6)


@given(st.integers(1, 500), st.integers(1, 40), st.integers(0, 30))
def test_every_token_is_scored_once(targets, count, overlap):
    streams = Streams(np.arange(targets + 1), count, overlap)
    read = streams.starts[:, None] + np.arange(streams.length)
    scored = np.arange(streams.length) >= streams.unscored[:, None]
    assert sorted(read[scored]) == list(range(targets))
    assert 1 <= len(streams.starts) <= count
    assert (streams.unscored[1:] >= overlap).all()
    assert read.size <= targets * (1 + 1 / 3) + count


@pytest.mark.parametrize("streams", [2, 5])
def test_an_overlap_gives_the_score_of_one_stream(lm, streams):
    text = TEXT * 12
    whole = lm.evaluate(text)
    alone = lm.evaluate(text, batch_size=streams, overlap=0)
    found = lm.evaluate(text, batch_size=streams, overlap=15)
    assert found.tokens == whole.tokens == len(text)
    error, uncorrected = (abs(e.nats_per_token - whole.nats_per_token) for e in (found, alone))
    assert error < 1e-5 < uncorrected


def test_progress_of_an_evaluation(lm):
    calls = []
    lm.evaluate(TEXT * 10, batch_size=3, overlap=4, progress=lambda *call: calls.append(call))
    done, totals = zip(*calls, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == len(TEXT) * 10
    assert set(totals) == {len(TEXT) * 10}


def test_bits_per_character_of_words():
    vocabulary = Vocabulary.words("the sea the ship")
    lm = LanguageModel(vocabulary, hidden_size=2)
    found = lm.evaluate("the  ship the sea\n")
    bits = found.nats_per_token * 4 / math.log(2)
    assert found.bits_per_character == pytest.approx(bits / len("the ship the sea"))
    other = lm.evaluate("the shop the sea")
    bits = other.nats_per_token * 4 / math.log(2) + vocabulary.spelling_bits("shop")
    assert other.bits_per_character == pytest.approx(bits / len("the shop the sea"))


def test_unknown_words_are_no_cheap_hits():
    text = " ".join(f"word{n * n}" for n in range(500))
    scores = {}
    for size in (3, 50, None):
        vocabulary = Vocabulary.words(text, max_size=size)
        scores[size] = LanguageModel(vocabulary, hidden_size=2).evaluate(text)
    bits = [score.bits_per_character for score in scores.values()]
    assert bits == sorted(bits, reverse=True)
    assert scores[3].unknown_rate > 0.9
    assert scores[3].perplexity < scores[50].perplexity < scores[None].perplexity


@pytest.mark.parametrize(
    ("vocabulary", "text"),
    [
        (Vocabulary.words("a b", unk=False), "a b c"),
        (Vocabulary.codes(100), "abc\u0100"),
        (Vocabulary.words("a b"), np.array([1, 0, 2])),
    ],
)
def test_no_bits_per_character_without_spelling_or_characters(vocabulary, text):
    found = LanguageModel(vocabulary, hidden_size=2).evaluate(text)
    assert found.bits_per_character is None
    assert found.nats_per_token > 0


def test_too_short(lm):
    with pytest.raises(ValueError, match="at least 1 token, got 0"):
        lm.evaluate("")
    for count in (0, 1):
        with pytest.raises(ValueError, match=f"at least 2 tokens, got {count}"):
            lm.evaluate(np.ones(count, np.int64))
    with pytest.raises(TypeError, match="text: expected str or integers"):
        lm.evaluate(np.zeros(3))
    assert lm.score("").shape == (0,)


def test_documents_are_read_one_after_another():
    vocabulary = CHARACTERS.with_documents()
    lm, eod = LanguageModel(vocabulary, hidden_size=4, seed=1), vocabulary.eod_id
    found = lm.evaluate(["ab", "c?", "d"])
    ids = [eod, *vocabulary.encode("ab"), eod, *vocabulary.encode("c?"), eod,
           *vocabulary.encode("d"), eod]  # fmt: skip
    assert found.nats_per_token == lm.evaluate(np.array(ids)).nats_per_token
    assert found.tokens == 8
    bits = 8 * found.nats_per_token / math.log(2) + vocabulary.spelling_bits("?")
    assert found.bits_per_character == pytest.approx(bits / 8)  # an end counts as a character
    with pytest.raises(ValueError, match="no end of a document"):
        LanguageModel(CHARACTERS, hidden_size=4).evaluate(["ab", "c"])
