"""Sampling, streaming, batches and beam search."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastseq.lm import LanguageModel
from fastseq.lm.sampling import start_token, until_stop
from fastseq.text import Vocabulary

CHARACTERS = Vocabulary.characters("abc \n")
WORDS = Vocabulary.words("the whale, the sea and the ship .")
VOCABULARIES = {
    "char": CHARACTERS,
    "word": WORDS,
    "eos": Vocabulary.words("a b\nc", eos=True),
    "codes": Vocabulary.codes(12),
}
MODELS = {
    "lstm": {},
    "gru, embedding": {"cell": "gru", "embedding_size": 2},
    "rnn, tied": {"cell": "rnn", "embedding_size": 3, "tie_weights": True},
}


def build(vocabulary=CHARACTERS, spread=3.0, **options):
    """A model with weights large enough that its choices differ."""
    lm = LanguageModel(vocabulary, **{"hidden_size": 3, "num_layers": 2} | options)
    for parameter in lm.parameters():
        parameter.data *= spread
    return lm


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=VOCABULARIES)
@pytest.mark.parametrize("prime", ["", "a", "the b\n"])
def test_log_probs_are_those_of_score(vocabulary, options, prime):
    lm = build(vocabulary, **options)
    ids = vocabulary.encode(prime)
    read = [start_token(vocabulary), *ids]
    drawn = lm.sample_tokens(read, 5, count=2, seed=0, temperature=0.7, allow_unk=True)
    for row, log_probs in zip(drawn.ids, drawn.log_probs, strict=True):
        expected = lm.score(np.concatenate([ids, row]))[len(ids) :]
        np.testing.assert_allclose(log_probs, expected, atol=1e-4)


@pytest.mark.parametrize("prime", ["", "ab", "?"])
@pytest.mark.parametrize(
    "length", [0, 1, 1023, 1024, 2050]
)  # the chunks of this model have 1024 tokens
def test_streamed_batched_and_plain_samples_agree(prime, length):
    lm = build()
    text = lm.sample(prime, length, seed=3)
    assert text.startswith(prime)
    assert len(text) == len(prime) + length
    assert "".join(lm.generate(prime, length, seed=3)) == text
    assert lm.samples(1, prime, length, seed=3) == [text]


def test_seeds():
    lm = build()
    assert lm.sample(seed=1) == lm.sample(seed=1) != lm.sample(seed=2)
    assert lm.sample() != lm.sample()
    assert len(set(lm.samples(5, length=30, seed=0))) > 1


def test_generation_without_end():
    pieces = itertools.islice(build().generate("a", seed=0), 300)
    assert len("".join(pieces)) >= 300


def test_words_continue_the_prime():
    lm = build(WORDS)
    text = lm.sample("the ship", 6, seed=0)
    assert text.startswith("the ship")
    assert len(WORDS.encode(text)) == 2 + 6
    assert WORDS.decode(WORDS.encode(text)) == text


def test_unknown_token_is_not_drawn_unless_allowed():
    lm = build()
    lm.head["bias"].data[CHARACTERS.unk_id] = 50.0
    unknown = CHARACTERS.decode([CHARACTERS.unk_id])
    assert unknown not in lm.sample("a", 40, seed=0)
    assert lm.sample("a", 4, seed=0, allow_unk=True) == "a" + 4 * unknown


def test_temperature_zero_takes_the_likeliest():
    lm = build()
    ids, log_probs = lm.sample_tokens([2], 8, temperature=0, allow_unk=True)
    assert lm.sample_tokens([2], 8, top_k=1, allow_unk=True, seed=5).ids.tolist() == ids.tolist()
    state = None
    token = np.array([2])
    for expected, log_prob in zip(ids[0], log_probs[0], strict=True):
        row, state = lm.step(token, state)
        assert row[0].argmax() == expected
        assert row[0].max() == pytest.approx(log_prob, abs=1e-5)
        token = row.argmax(1)


def test_a_strong_penalty_uses_every_token_once():
    lm = build(spread=0.1)
    lm.head["bias"].data[:] = 5.0  # all logits are positive, and seen ones shrink to nothing
    ids = lm.sample_tokens([1], 5, temperature=0, repetition_penalty=1e6, allow_unk=True).ids
    assert sorted([1, *ids[0]]) == list(range(6))


def test_state_continues_a_text_and_stays_as_it_is():
    lm = build()
    text = CHARACTERS.encode("abcab")
    state = lm.advance(text[:-1, None])
    before = state.copy()
    first = lm.sample_tokens(text[-1:], 9, state=state, seed=0)
    np.testing.assert_array_equal(first.ids, lm.sample_tokens(text, 9, seed=0).ids)
    np.testing.assert_array_equal(state.h, before.h)
    np.testing.assert_array_equal(state.c, before.c)


texts = st.text("ab", min_size=1, max_size=3)


@given(st.lists(st.text("ab", max_size=3)), st.lists(texts, max_size=3))
@example(["ab", "a"], ["b", "aba"])
@example(["ab"], ["b", "ab"])
@settings(max_examples=1000)
def test_text_ends_before_the_first_stop_string(pieces, stop):
    """The stop string that is complete first counts, however the text is divided."""
    text = "".join(pieces)
    found = [(at + len(word), at) for word in stop if (at := text.find(word)) >= 0]
    begin = min(found)[1] if found else len(text)
    assert "".join(until_stop(pieces, stop)) == text[:begin]


def test_stop_strings_end_samples():
    lm = build()
    whole = lm.sample("a", 50, seed=4)
    stop = whole[20:22]
    expected = whole[: whole.index(stop, 1)]
    assert lm.sample("a", 50, seed=4, stop=stop) == expected
    assert lm.samples(1, "a", 50, seed=4, stop=[stop, "never"]) == [expected]


DOCUMENTS = {
    "char": CHARACTERS.with_documents(),
    "word": VOCABULARIES["eos"].with_documents(),
    "byte": Vocabulary.bytes().with_documents(),
}


@pytest.mark.parametrize("vocabulary", DOCUMENTS.values(), ids=DOCUMENTS)
def test_samples_end_where_a_document_does(vocabulary):
    lm = build(vocabulary)
    lm.head["bias"].data[vocabulary.eod_id] += np.log(len(vocabulary) / 20)
    read = [start_token(vocabulary), *vocabulary.encode("a")]
    assert read[0] == vocabulary.eod_id
    for seed in range(3):
        ids = lm.sample_tokens(read, 200, seed=seed).ids[0].tolist()
        drawn = ids[: ids.index(vocabulary.eod_id)]
        text = vocabulary.decode([*read, *drawn])
        assert lm.sample("a", 200, seed=seed) == text
        assert lm.samples(1, "a", 200, seed=seed) == [text]
        assert "".join(lm.generate("a", seed=seed)) == text


def test_no_penalty_is_on_the_end_of_the_document_before():
    vocabulary = DOCUMENTS["char"]
    lm = build(vocabulary)
    lm.head["bias"].data[vocabulary.eod_id] = 50.0
    assert lm.sample("a", 9, temperature=0, repetition_penalty=1e6) == "a"


def test_beams_end_where_a_document_does():
    vocabulary = Vocabulary.characters("ab").with_documents()
    lm, eod = build(vocabulary), vocabulary.eod_id
    scores = {}
    for drawn in itertools.product(range(1, 4), repeat=3):
        ids = [1, *drawn[: drawn.index(eod) + 1 if eod in drawn else 3]]
        scores[tuple(ids)] = lm.score(np.array(ids))[1:].sum()
    best = sorted(scores, key=scores.get, reverse=True)
    found = lm.beam_search("a", 3, beams=len(best))
    assert [beam.text for beam in found] == [vocabulary.decode(ids) for ids in best]
    np.testing.assert_allclose([b.log_prob for b in found], [scores[i] for i in best], atol=1e-4)


@pytest.mark.parametrize("allow_unk", [True, False])
def test_beam_search_finds_the_likeliest_when_it_keeps_all(allow_unk):
    lm = build()
    tokens = range(0 if allow_unk else 1, 6)
    scores = {}
    for drawn in itertools.product(tokens, repeat=3):
        ids = [*CHARACTERS.encode("a"), *drawn]
        scores[CHARACTERS.decode(ids)] = lm.score(np.array(ids))[1:].sum()
    best = sorted(scores, key=scores.get, reverse=True)
    found = lm.beam_search("a", 3, beams=6**3, allow_unk=allow_unk)
    assert len(found) == len(best)
    assert [beam.text for beam in found[:4]] == best[:4]
    assert found[0].log_prob == pytest.approx(scores[best[0]], abs=1e-4)


def test_one_beam_is_greedy():
    lm = build()
    assert lm.beam_search("ab", 10, beams=1)[0].text == lm.sample("ab", 10, temperature=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"stop": ""}, "stop"),
        ({"length": -1}, "length"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
    ],
)
def test_options_are_checked_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        build().sample(**options)


@pytest.mark.parametrize("size", [{"length": 10**13}, {"count": 10**13}, {"count": 10**30}])
def test_more_samples_than_memory_holds_are_refused(size):
    (name,) = size
    with pytest.raises(ValueError, match=rf"{name}.*: expected at most"):
        build().samples(**{"count": 2, "length": 3} | size)


def test_top_k_beyond_the_vocabulary_keeps_all():
    assert build().sample(seed=1, top_k=10**30) == build().sample(seed=1)


def test_only_allowed_tokens_are_drawn():
    lm = LanguageModel(Vocabulary.characters("abcd"), hidden_size=4, seed=1)
    allowed = np.array([True, False, True, True, False])
    for allow_unk, expected in ((False, {2, 3}), (True, {0, 2, 3})):
        drawn = lm.sample_tokens([1], 200, allowed=allowed, allow_unk=allow_unk, seed=0)
        assert set(drawn.ids.ravel().tolist()) == expected
    for wrong, message in (
        (allowed[1:], r"bool of shape \(5,\)"),
        (allowed.astype(int), r"bool of shape \(5,\)"),
        (np.zeros(5, bool), "at least one"),
        (np.eye(5, dtype=bool)[0], "at least one"),
    ):
        with pytest.raises(ValueError, match=f"allowed: expected .*{message}"):
            lm.sample_tokens([1], 2, allowed=wrong)
