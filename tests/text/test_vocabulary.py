"""Vocabularies: lossless encoding, special tokens, refusal of bad input."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.text import TextError, Vocabulary

# Every code point except lone surrogates, with awkward ones more frequent.
texts = st.text(
    st.one_of(st.sampled_from("aA \t\r\n\0\ufeff\x85é€😀<>"), st.characters(codec="utf-8")),
    min_size=1,
)
word_texts = st.lists(st.text(" \nabcé<unk>", max_size=12)).map(
    lambda parts: " a ".join(["a", *parts])
)

SAMPLE = "One <unk> two <eos> two, Three\r\nthree."


def levels(text):
    return [Vocabulary.bytes(), Vocabulary.characters(text), Vocabulary.words(text, eos=True)]


def all_kinds(text):
    return [
        Vocabulary.bytes(),
        Vocabulary.codes(),
        Vocabulary.characters(text),
        Vocabulary.words(text),
        Vocabulary.words(text, lowercase=True, eos=True),
        Vocabulary.words(text, eos=True, unk=False),
        Vocabulary.words(text, unk=False),
        *[kind.with_documents() for kind in levels(text)],
    ]


@given(texts)
def test_characters_and_bytes_lose_nothing(text):
    for vocabulary in Vocabulary.bytes(), Vocabulary.characters(text):
        ids = vocabulary.encode(text, "error")
        assert vocabulary.decode(ids) == text
        assert vocabulary.unknown_rate(ids) == 0
        assert ids.dtype == np.int64


def test_characters_keep_lone_surrogates_and_bytes_refuse_them():
    text = "a\ud800b"
    vocabulary = Vocabulary.characters(text)
    assert vocabulary.decode(vocabulary.encode(text, "error")) == text
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    with pytest.raises(TextError, match=r"'\\ud800' has no UTF-8 form"):
        Vocabulary.bytes().encode(text)


@given(word_texts)
def test_words_return_when_joined_by_single_spaces(text):
    vocabulary = Vocabulary.words(text)
    ids = vocabulary.encode(text, "error")
    assert vocabulary.decode(ids) == " ".join(text.split())


@given(texts)
def test_code_points_are_ids_and_others_are_zero(text):
    ids = Vocabulary.codes(200).encode(text)
    assert ids.tolist() == [ord(c) if ord(c) < 200 else 0 for c in text]


@given(word_texts, st.integers(1, 6))
def test_words_without_unknown_are_by_frequency_and_any_other_is_zero(text, size):
    vocabulary = Vocabulary.words(text, size, unk=False)
    counts = Counter(text.split())
    ranked = sorted(counts, key=lambda word: -counts[word])[
        :size
    ]  # stable, so that words seen first come first
    assert list(vocabulary.tokens) == ranked
    assert vocabulary.unk_id is None
    expected = [ranked.index(word) if word in ranked else 0 for word in text.split()]
    assert vocabulary.encode(text).tolist() == expected


@given(
    st.one_of(texts, word_texts).filter(lambda text: text.split()),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_pieces_give_what_the_whole_gives(text, cuts):
    cuts = sorted(min(cut, len(text)) for cut in cuts)
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert Vocabulary.characters(iter(pieces)) == Vocabulary.characters(text)
    assert Vocabulary.words(iter(pieces), eos=True) == Vocabulary.words(text, eos=True)
    other = "a b\nc <unk>"
    for vocabulary in all_kinds(other):
        for policy in "unk", "skip":
            streamed = list(vocabulary.encode_stream(pieces, policy))
            ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in streamed)])
            np.testing.assert_array_equal(ids, vocabulary.encode(text, policy))
            lookup = vocabulary.lookup(text)
            assert sum(unknown for _, unknown in streamed) == np.count_nonzero(lookup < 0)


@pytest.mark.parametrize("make", [Vocabulary.characters, Vocabulary.words])
def test_unknown_symbols_follow_the_policy(make):
    vocabulary = make("a b a")
    text = "a x b x"
    ids = vocabulary.encode(text)
    assert vocabulary.unk_id == 0
    assert np.count_nonzero(ids == 0) == 2
    assert vocabulary.unknown_rate(ids) == pytest.approx(2 / len(ids))
    np.testing.assert_array_equal(vocabulary.encode(text, "skip"), ids[ids != 0])
    with pytest.raises(TextError, match="'x' is not among"):
        vocabulary.encode(text, "error")
    with pytest.raises(ValueError, match="policy: expected 'unk', 'error' or 'skip', got 'drop'"):
        vocabulary.encode(text, "drop")


def test_unknown_characters_decode_to_one_character():
    vocabulary = Vocabulary.characters("ab")
    assert vocabulary.decode(vocabulary.encode("aéb")) == "a\ufffdb"


def test_specials_spelt_out_are_ordinary_words():
    vocabulary = Vocabulary.words("<unk> <eos> a\n", eos=True)
    ids = vocabulary.encode("<unk> <eos> other\n")
    assert ids[2:].tolist() == [vocabulary.unk_id, vocabulary.eos_id]
    assert not {vocabulary.unk_id, vocabulary.eos_id} & set(ids[:2].tolist())
    assert vocabulary.tokens.count("<unk>") == vocabulary.tokens.count("<eos>") == 2


def test_specials_spelt_out_are_unknown_where_the_words_are_not_known():
    vocabulary = Vocabulary.words("a b\n", eos=True)
    assert vocabulary.encode("<eos> <unk>").tolist() == [vocabulary.unk_id] * 2


def test_eos_stands_for_each_newline():
    vocabulary = Vocabulary.words("a b\n\nb\r\na", eos=True)
    ids = vocabulary.encode("a b\n\nb\r\na")
    assert np.flatnonzero(ids == vocabulary.eos_id).tolist() == [2, 3, 5]
    assert vocabulary.decode(ids) == "a b\n\nb\na"


@pytest.mark.parametrize("plain", levels(SAMPLE), ids=repr)
def test_the_end_of_a_document_is_no_text(plain):
    vocabulary = plain.with_documents()
    assert vocabulary.eod_id == len(plain) == len(vocabulary) - 1
    assert vocabulary.with_documents() == vocabulary
    text = SAMPLE + " " + vocabulary.tokens[-1]
    ids = vocabulary.encode(text)
    np.testing.assert_array_equal(ids, plain.encode(text))
    ended = np.insert(ids, [3, len(ids)], vocabulary.eod_id)
    assert vocabulary.decode(ended) == plain.decode(ids)
    assert len(list(vocabulary.decode_stream(ended.tolist()))) == len(ended)


def test_a_character_is_not_held_back_beyond_its_document():
    vocabulary = Vocabulary.bytes().with_documents()
    cut = vocabulary.encode("é")[0]
    assert vocabulary.decode([cut, vocabulary.eod_id, ord("a")]) == "\ufffda"


@pytest.mark.parametrize("plain", levels(SAMPLE), ids=repr)
def test_without_documents_json_does_not_mention_them(plain):
    assert "eod" not in plain.to_json()


def test_min_count_and_max_size_bound_the_vocabulary():
    assert Vocabulary.characters("aab", min_count=2).tokens == ("<unk>", "a")
    assert Vocabulary.words("a a b c c c", min_count=2).tokens == ("<unk>", "c", "a")
    assert Vocabulary.words("a a b c c c\n", 3, eos=True).tokens == ("<unk>", "c", "<eos>")
    assert Vocabulary.words("b A a", lowercase=True).encode("A B x").tolist() == [1, 2, 0]


@given(st.binary())
def test_bytes_that_are_no_text_are_encoded_as_they_are(data):
    text = data.decode(errors="surrogateescape")
    assert bytes(Vocabulary.bytes().encode(text).tolist()) == data


def test_bytes_cut_inside_a_character_are_held_back():
    vocabulary = Vocabulary.bytes()
    ids = vocabulary.encode("é!").tolist()
    assert list(vocabulary.decode_stream(ids)) == ["", "é", "!"]
    assert vocabulary.decode(ids[:1]) == "\ufffd"


@pytest.mark.parametrize("vocabulary", all_kinds(SAMPLE), ids=repr)
def test_streamed_decoding_gives_a_piece_per_id(vocabulary):
    ids = vocabulary.encode(SAMPLE)
    pieces = list(vocabulary.decode_stream(ids.tolist()))
    assert len(pieces) == len(ids)
    assert "".join(pieces) == vocabulary.decode(ids)


@pytest.mark.parametrize("vocabulary", all_kinds(SAMPLE), ids=repr)
def test_json_round_trip(vocabulary):
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)
    assert again.fingerprint() == vocabulary.fingerprint()
    np.testing.assert_array_equal(again.encode(SAMPLE), vocabulary.encode(SAMPLE))


def test_vocabularies_that_encode_differently_differ():
    kinds = all_kinds(SAMPLE)
    assert len(set(kinds)) == len({kind.fingerprint() for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    "change",
    [
        {"level": "syllable"},
        {"level": []},
        {"tokens": ["a", "b", "b"]},
        {"tokens": ["a", "bc", "d"]},
        {"tokens": ["a", 1, "d"]},
        {"tokens": []},
        {"tokens": None},
        {"unk_id": 3},
        {"unk_id": -1},
        {"unk_id": 1.0},
        {"eod_id": 3},
        {"eod_id": 0},
        {"surprise": 1},
    ],
    ids=str,
)
def test_damaged_json_is_refused(change):
    fields = json.loads(Vocabulary.characters("ab").to_json())
    with pytest.raises(TextError):
        Vocabulary.from_json(json.dumps(fields | change))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "{}", "[" * 100_000])
def test_json_of_something_else_is_refused(text):
    with pytest.raises(TextError):
        Vocabulary.from_json(text)


@pytest.mark.parametrize("vocabulary", all_kinds(SAMPLE), ids=repr)
def test_ids_outside_the_vocabulary_are_refused(vocabulary):
    for wrong in -1, len(vocabulary):
        with pytest.raises(ValueError, match=f"ids: expected 0 to .*, got {wrong}"):
            vocabulary.decode([0, wrong])
    with pytest.raises(TypeError, match="expected integers, got float64"):
        vocabulary.decode([0.5])
    assert vocabulary.decode([]) == ""
    assert vocabulary.encode("").shape == (0,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vocabulary.characters(""), "at least one character"),
        (lambda: Vocabulary.words(" \n"), "at least one word"),
        (lambda: Vocabulary.characters("a", min_count=0), "min_count: expected at least 1, got 0"),
        (lambda: Vocabulary.words("a", max_size=1), "max_size: expected more than 1, got 1"),
        (lambda: Vocabulary.codes(0), "size: expected at least 1, got 0"),
    ],
)
def test_impossible_requests_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
