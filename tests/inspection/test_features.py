"""Places of tokens in a text, and features of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.inspection.features import FEATURES
from fastseq.inspection.tokens import TokenText, label
from fastseq.text import Vocabulary

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
VOCABULARIES = {
    "characters": Vocabulary.characters,
    "codes": lambda text: Vocabulary.codes(100),
    "bytes": lambda text: Vocabulary.bytes(),
    "documents": lambda text: Vocabulary.bytes().with_documents(),
    "words": lambda text: Vocabulary.words(text + " a"),
    "words, lines": lambda text: Vocabulary.words(text + " a", eos=True),
    "words, lower case": lambda text: Vocabulary.words(text + " a", lowercase=True, eos=True),
}
BY_NAME = {feature.name: feature for feature in FEATURES}


@pytest.mark.parametrize("kind", VOCABULARIES)
@given(text=ANY_TEXT)
def test_gaps_and_pieces_are_the_text(kind, text):
    tokens = TokenText.of(VOCABULARIES[kind](text), text)
    assert tokens.spans.shape == (len(tokens), 2)
    gaps, pieces = tokens.gaps_and_pieces()
    joined = "".join(gap + piece for gap, piece in zip(gaps, pieces, strict=True))
    # White space before the first word and after the last belongs to no token.
    assert joined.strip() == text.strip() if "words" in kind else joined == text
    assert all(gap.isspace() or not gap for gap in gaps)


@given(text=ANY_TEXT, start=st.integers(0, 39))
def test_a_text_that_begins_with_a_token(text, start):
    tokens = TokenText.of(Vocabulary.bytes(), text)
    start = min(start, len(tokens) - 1)
    rest = tokens.after(start)
    assert rest.ids.tolist() == tokens.ids[start:].tolist()
    assert "".join(rest.gaps_and_pieces()[1]) == rest.text
    assert text.endswith(rest.text)


def test_bytes_that_are_not_utf8():
    tokens = TokenText.of(Vocabulary.bytes(), "a\udcffé")
    assert tokens.ids.tolist() == [97, 255, 0xC3, 0xA9]
    assert tokens.gaps_and_pieces()[1] == ["a", "\udcff", "", "é"]


@pytest.mark.parametrize(("token", "shown"), [
    ("a", "a"), (" ", "␣"), ("\n", "↵"), ("\t", "⇥"), ("\x00", "␀"), ("\x1b", "␛"),
    ("\x7f", "␡"), ("\x80", "U+0080"), ("\u2028", "U+2028"), ("\udcff", "U+DCFF"), ("", "∅"),
    ("\u202e", "U+202E"), ("boat", "boat"), ("\\xff", "\\xff"),
])  # fmt: skip
def test_labels_are_visible(token, shown):
    assert label(token) == shown


def measured(name, text, vocabulary=None):
    tokens = TokenText.of(vocabulary or Vocabulary.characters(text), text)
    return BY_NAME[name].of_tokens(tokens).tolist()


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("quotes", 'a"b"c', [0, 1, 1, 0, 0]),
    ("quotes", "“a”b«c»", [1, 1, 0, 0, 1, 1, 0]),
    ("quotes", '"a\nb\n \nc"', [1, 1, 1, 1, 1, 1, 0, 0, 1]),
    ("brackets", "(a[b])c)(", [1, 1, 2, 2, 1, 0, 0, 0, 1]),
    ("brackets", "(\n\n)", [1, 1, 0, 0]),
    ("line position", "ab\nc", [1, 2, 0, 1]),
    ("sentence position", "a. b", [1, 0, 1, 2]),
    ("word position", " ab_1,c", [0, 1, 2, 3, 4, 0, 1]),
    ("indentation", "  a b\n\tc", [1, 2, 2, 2, 2, 0, 1, 1]),
    ("white space", "a \n", [0, 1, 1]),
    ("end of line", "a \n", [0, 0, 1]),
    ("capitals", "aBÉ", [0, 1, 1]),
    ("digits", "a1", [0, 1]),
    ("punctuation", "a,b?", [0, 1, 0, 1]),
])  # fmt: skip
def test_features_of_characters(name, text, expected):
    assert measured(name, text) == expected


def test_features_of_words_and_bytes():
    text = "(Two boats, 42)\n"
    words = Vocabulary.words(text, eos=True)
    assert measured("brackets", text, words) == [1, 1, 0, 0]
    assert measured("capitals", text, words) == [1, 0, 0, 0]  # anywhere in the word
    assert measured("digits", text, words) == [0, 0, 1, 0]
    assert measured("punctuation", text, words) == [0, 1, 0, 0]
    assert measured("end of line", text, words) == [0, 0, 0, 1]
    assert measured("quotes", "“a”", Vocabulary.bytes()) == [1, 1, 1, 1, 0, 0, 0]


@given(text=ANY_TEXT)
@pytest.mark.parametrize("kind", VOCABULARIES)
def test_every_feature_has_a_finite_number_for_every_token(kind, text):
    tokens = TokenText.of(VOCABULARIES[kind](text), text)
    for feature in FEATURES:
        values = feature.of_tokens(tokens)
        assert values.shape == (len(tokens),)
        assert np.isfinite(values).all()
