"""The code length of words that are not in a vocabulary."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.text import Vocabulary, spelling
from fastseq.text.spelling import CODE_POINTS, Spelling

KNOWN = [[], ["a"], ["ab", "abc", "cab", "b"], ["a" * 30, "b"]]


@pytest.mark.parametrize("known", KNOWN)
def test_all_words_together_have_a_probability_of_at_most_one(known, monkeypatch):
    monkeypatch.setattr(spelling, "CODE_POINTS", 3)  # a, b and c are all characters
    model, totals = Spelling(known), []
    total = 0.0
    for length in range(10):
        words = map("".join, itertools.product("abc", repeat=length))
        total += sum(2 ** -model.bits(word) for word in words)
        totals.append(total)
    assert totals[-1] <= 1 + 1e-12
    assert totals[-1] > 0.4  # nearly nothing is wasted on what is no word
    assert totals == sorted(totals)


@given(
    st.lists(st.text("abé", max_size=5), max_size=6),
    st.sampled_from(["", " ", "a", " a", "ab", "éé", "zz"]),
)
def test_the_probabilities_after_a_context_add_up_to_one(known, context):
    model = Spelling(known)
    symbols = {*"".join(known), ""}  # "" is the end
    total = math.fsum(model._probability(context, symbol) for symbol in symbols)
    others = CODE_POINTS + 1 - len(symbols)
    assert total + others * model._probability(context, "☃") == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("known", KNOWN)
def test_every_word_can_be_spelt(known):
    model = Spelling(known)
    for word in ("", "a", "zebra", "\U0010ffff", "\udc80"):
        assert 0 <= model.bits(word) < 21.1 * 2 * (len(word) + 1)


def test_words_like_the_known_ones_are_cheap():
    vocabulary = Vocabulary.words("station nation ration relation stationary")
    assert vocabulary.spelling_bits("nation") == 0
    assert vocabulary.spelling_bits("notation") < vocabulary.spelling_bits("xqzkjvwy")


@pytest.mark.parametrize(
    ("vocabulary", "text", "characters"),
    [
        (Vocabulary.bytes(), "é b\n", 4),
        (Vocabulary.characters("ab"), " a\n ", 4),
        (Vocabulary.words("a b"), "  a  bc\n\nb ", 6),
        (Vocabulary.words("a b", eos=True), "  a  bc\n\nb ", 7),
        (Vocabulary.words("a b", eos=True), "a", 1),
        (Vocabulary.words("a b"), "", 0),
    ],
)
def test_character_count(vocabulary, text, characters):
    assert vocabulary.character_count(text) == characters


def test_lower_case_is_spelt():
    lower, plain = (Vocabulary.words("the sea", lowercase=on) for on in (True, False))
    assert lower.spelling_bits("THE") == 0 < plain.spelling_bits("THE")
    assert lower.spelling_bits("HEAT") == lower.spelling_bits("heat")


def test_each_occurrence_costs():
    vocabulary = Vocabulary.words("the sea")
    one, other = vocabulary.spelling_bits("heat"), vocabulary.spelling_bits("tea")
    both = vocabulary.spelling_bits("the heat the tea heat")
    assert both == pytest.approx(2 * one + other)
    characters = Vocabulary.characters("abc")
    assert characters.spelling_bits("axbyx") == pytest.approx(3 * math.log2(CODE_POINTS))


def test_unknown_words_that_pass_for_known_ones_cannot_be_spelt():
    assert Vocabulary.words("a b", unk=False).spelling_bits("a c") is None
    assert Vocabulary.words("a b", unk=False).spelling_bits("a b") == 0
