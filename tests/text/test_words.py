"""Words: joined readably, counted in bounded memory."""

from collections import Counter

import pytest

from fastseq.text import TextError, words


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("He said : no , never .", "He said: no, never."),
        ("( 24 in ) is $ 5 and 3 %", "(24 in) is $5 and 3%"),
        ('a " b c " d " e "', 'a "b c" d "e"'),
        ("the dog 's bone ; it ’s his", "the dog's bone; it’s his"),
        ("well @-@ known 1 @,@ 000 3 @.@ 5", "well-known 1,000 3.5"),
        ("plain words, as they stand. 'quoted' 'tis", "plain words, as they stand. 'quoted' 'tis"),
    ],
)
def test_words_are_joined_readably(tokens, text):
    assert "".join(words.join_words(tokens.split())) == text


def test_a_line_begins_without_space_and_closes_quotes():
    assert "".join(words.join_words(["a", '"', "b", None, '"', "c"])) == 'a "b\n"c'


def test_counting_forgets_only_the_rarest(monkeypatch):
    monkeypatch.setattr(words, "MAX_DISTINCT", 50)
    pieces = [f"often twice{i % 40} rare{i}\n" for i in range(200)]
    counts = words.count_words(pieces)
    assert counts["often"] == 200
    assert len(counts) <= 51
    assert counts <= Counter("".join(pieces).split())


def test_text_without_white_space_is_no_text_of_words(monkeypatch):
    monkeypatch.setattr(words, "MAX_WORD_LENGTH", 100)
    with pytest.raises(TextError, match="no white space in 120 characters"):
        list(words.whole_words(["x" * 40] * 3))
