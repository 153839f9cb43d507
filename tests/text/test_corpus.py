"""Corpora: the same tokens from memory, files and cache; disjoint splits."""

import gzip
import json
from functools import partial

import numpy as np
import pytest

from fastseq.text import Corpus, TextError, Vocabulary, cache_dir, corpus, reading

TEXT = "The sea, the sea — the open sea!\r\nThe blue, the fresh, the ever free.\n" * 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSEQ_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def everything_cached(monkeypatch):
    monkeypatch.setattr(corpus, "IN_MEMORY_BYTES", -1)


@pytest.fixture
def files(tmp_path):
    """Three files in a folder whose texts joined by newlines are TEXT."""
    folder = tmp_path / "texts"
    folder.mkdir()
    lines = TEXT.split("\n")
    for name, part in zip("abc", (lines[:5], lines[5:60], lines[60:]), strict=True):
        (folder / f"{name}.txt").write_bytes("\n".join(part).encode())
    return folder


def cached_files():
    return sorted((cache_dir() / "tokens").iterdir())


MAKERS = [
    Vocabulary.bytes(),
    Vocabulary.codes(),
    Vocabulary.characters,
    lambda text: Vocabulary.words(text, 5, eos=True),
    lambda text: Vocabulary.words(text, unk=False),
]


@pytest.mark.parametrize("vocabulary", MAKERS)
@pytest.mark.parametrize("policy", ["unk", "skip"])
@pytest.mark.parametrize("limit", [-1, 1 << 20])
def test_files_give_what_the_text_gives(files, monkeypatch, vocabulary, policy, limit):
    monkeypatch.setattr(corpus, "IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 61)
    expected = Corpus.from_text(TEXT, vocabulary, 0.1, 0.05, policy)
    for _ in range(2):  # built, then found in the cache
        got = Corpus.from_files(files, vocabulary, 0.1, 0.05, policy)
        assert got.vocabulary == expected.vocabulary
        assert list(got.splits) == ["train", "valid", "test"]
        for name in got.splits:
            np.testing.assert_array_equal(got.tokens(name), expected.tokens(name))
            assert got.tokens(name).dtype == np.uint8
        assert got.unknown_rate == expected.unknown_rate
        assert got.fingerprint() == expected.fingerprint()
    whole = np.concatenate([got.tokens(name) for name in got.splits])
    np.testing.assert_array_equal(whole, got.vocabulary.encode(TEXT, policy))
    lookup = got.vocabulary.lookup(TEXT)
    assert got.unknown_rate == pytest.approx(np.mean(lookup < 0))


@pytest.mark.parametrize(
    ("size", "dtype"), [(256, np.uint8), (257, np.uint16), (65537, np.uint32)]
)
def test_tokens_take_the_smallest_type(size, dtype):
    tokens = Corpus.from_text("abc", Vocabulary.codes(size)).tokens()
    assert tokens.dtype == dtype
    assert not tokens.flags.writeable


def test_fractions_are_cut_off_the_end():
    text = "".join(map(chr, range(100)))
    split = Corpus.from_text(text, Vocabulary.codes(), valid=0.1, test=0.05)
    sizes = {name: (stream.tokens[0], len(stream)) for name, stream in split.splits.items()}
    assert sizes == {"train": (0, 85), "valid": (85, 10), "test": (95, 5)}
    assert list(Corpus.from_text(text, Vocabulary.codes()).splits) == ["train"]


def test_files_held_out_are_left_out_of_training(files):
    held_out = Corpus.from_files(files, Vocabulary.bytes(), valid=files / "b.txt")
    expected = (files / "a.txt").read_bytes() + b"\n" + (files / "c.txt").read_bytes()
    assert held_out.tokens("train").tobytes() == expected
    assert held_out.tokens("valid").tobytes() == (files / "b.txt").read_bytes()
    with pytest.raises(TextError, match="all files are held out"):
        Corpus.from_files(files, Vocabulary.bytes(), valid=files)


@pytest.mark.parametrize("limit", [-1, 1 << 20])
def test_bytes_of_any_file_are_tokens(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(corpus, "IN_MEMORY_BYTES", limit)
    data = np.random.default_rng(1).bytes(5000)
    (tmp_path / "picture.png").write_bytes(data)
    tokens = Corpus.from_files(tmp_path / "picture.png", Vocabulary.bytes()).tokens()
    assert tokens.tobytes() == data


def test_vocabulary_is_made_of_training_text_alone():
    made = Corpus.from_text("aab", Vocabulary.characters, valid="abc")
    assert made.vocabulary.tokens == ("<unk>", "a", "b")
    assert made.unknown_rate == pytest.approx(1 / 6)


@pytest.mark.parametrize("limit", [-1, 1 << 20])
@pytest.mark.parametrize("vocabulary", MAKERS)
def test_documents_end_with_a_special_token(files, monkeypatch, vocabulary, limit):
    monkeypatch.setattr(corpus, "IN_MEMORY_BYTES", limit)
    texts = [path.read_bytes().decode() for path in sorted(files.iterdir())]
    (files / "b_empty.txt").touch()  # no document
    plain = Corpus.from_files(files, vocabulary)
    got = Corpus.from_files(files, vocabulary, documents=True)
    assert got.vocabulary == plain.vocabulary.with_documents()
    ids = [np.append(plain.vocabulary.encode(text), got.vocabulary.eod_id) for text in texts]
    np.testing.assert_array_equal(got.tokens(), np.concatenate(ids))
    assert got.fingerprint() != plain.fingerprint()
    # As when a training run is resumed, the vocabulary implies documents.
    again = Corpus.from_files(files, got.vocabulary)
    assert again.fingerprint() == got.fingerprint()


@pytest.mark.parametrize("make", [Vocabulary.characters, Vocabulary.words], ids=["char", "word"])
def test_a_vocabulary_is_counted_once_for_a_text_and_its_options(files, monkeypatch, make):
    monkeypatch.setattr(corpus, "COUNTED_ANEW_BYTES", -1)
    read = []
    original = corpus.read_documents

    def reading_is_noted(*args, **options):
        read.append(1)  # when the first piece is requested
        yield from original(*args, **options)

    monkeypatch.setattr(corpus, "read_documents", reading_is_noted)

    def passes(**options):
        """Count how often the text is read, for the vocabulary and for the tokens."""
        read.clear()
        made = Corpus.from_files(files, partial(make, **options)).vocabulary
        assert made == Corpus.from_text(TEXT, partial(make, **options)).vocabulary
        return len(read)

    assert [passes(), passes(), passes(min_count=2), passes(min_count=2)] == [2, 1, 2, 1]
    for path in (cache_dir() / "vocabularies").iterdir():
        path.write_bytes(path.read_bytes().replace(b"sea", b"see").replace(b'"e"', b'"E"'))
    assert passes() == 2
    (files / "c.txt").write_text((files / "c.txt").read_text() + " ")
    assert Corpus.from_files(files, make).vocabulary == make(TEXT)
    # A function without a known name is called each time.
    read.clear()
    Corpus.from_files(files, lambda text: make(text))
    assert len(read) == 2


@pytest.mark.usefixtures("everything_cached")
def test_a_cache_that_cannot_be_written_is_no_error(files, monkeypatch, tmp_path):
    monkeypatch.setattr(corpus, "COUNTED_ANEW_BYTES", -1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "cache").write_text("a file where the folder should be")
    before = sorted(tmp_path.iterdir())
    got = Corpus.from_files(files, Vocabulary.words)
    assert got.vocabulary == Vocabulary.words(TEXT)
    np.testing.assert_array_equal(got.tokens(), got.vocabulary.encode(TEXT))
    assert isinstance(got.splits["train"].release, partial)  # a mapped file all the same
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("everything_cached")
def test_sources_that_cannot_be_read_are_an_error_all_the_same(files, monkeypatch):
    def broken(*_, **__):
        raise PermissionError(13, "Permission denied", "a.txt")

    monkeypatch.setattr(reading, "_read_blocks", broken)
    with pytest.raises(PermissionError, match=r"a\.txt"):
        Corpus.from_files(files, Vocabulary.bytes())


@pytest.mark.usefixtures("everything_cached")
def test_cache_is_made_once_and_again_only_for_other_input(files):
    def build(**options):
        Corpus.from_files(files, **{"vocabulary": Vocabulary.bytes()} | options)
        return len(cached_files())

    assert build() == 2
    before = [path.stat().st_mtime_ns for path in cached_files()]
    assert build() == 2
    assert [path.stat().st_mtime_ns for path in cached_files()] == before
    assert build(separator="") == 4
    assert build(vocabulary=Vocabulary.codes()) == 6
    assert build(strip_licence=False) == 8
    (files / "a.txt").write_bytes(b"changed")
    assert build() == 10


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.usefixtures("everything_cached")
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("harm", [flip_a_bit, truncate, lambda path: path.unlink()])
def test_damaged_cache_is_made_again(files, which, harm):
    Corpus.from_files(files, Vocabulary.bytes())
    whole = [path.read_bytes() for path in cached_files()]
    harm(cached_files()[which])
    again = Corpus.from_files(files, Vocabulary.bytes())
    assert again.tokens().tobytes() == TEXT.encode()
    assert [path.read_bytes() for path in cached_files()] == whole


@pytest.mark.usefixtures("everything_cached")
def test_failure_while_encoding_leaves_nothing_behind(files):
    (files / "c.txt").write_bytes(b"fine so far \xff")
    with pytest.raises(TextError, match=r"c\.txt: invalid UTF-8 at byte 12"):
        Corpus.from_files(files, Vocabulary.codes())
    assert cached_files() == []


@pytest.mark.usefixtures("everything_cached")
def test_mapped_tokens_stay_right_after_release(files):
    mapped = Corpus.from_files(files, Vocabulary.bytes())
    stream = mapped.splits["train"]
    first = stream.tokens.tobytes()
    if stream.release is not None:
        stream.release()
    assert stream.tokens.tobytes() == first == TEXT.encode()
    assert not stream.tokens.flags.writeable


def test_batches_are_windows_over_a_split():
    split = Corpus.from_text(TEXT, Vocabulary.characters, valid=0.2)
    inputs, targets = split.batches("valid", 3, 7).window(0)
    assert inputs.shape == (7, 3)
    np.testing.assert_array_equal(inputs[1:], targets[:-1])
    np.testing.assert_array_equal(inputs[:, 0], split.tokens("valid")[:7])
    with pytest.raises(ValueError, match="split: expected one of train, valid, got 'test'"):
        split.batches("test", 3, 7)


def test_compressed_files_read_as_plain_ones(files):
    plain = Corpus.from_files(files, Vocabulary.bytes())
    for path in files.iterdir():
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    assert Corpus.from_files(files, Vocabulary.bytes()).fingerprint() == plain.fingerprint()


def test_fingerprint_distinguishes_splits_and_vocabularies():
    prints = {
        Corpus.from_text(TEXT, vocabulary, valid).fingerprint()
        for vocabulary in (Vocabulary.bytes(), Vocabulary.characters)
        for valid in (0.0, 0.1, 0.2, TEXT)
    }
    assert len(prints) == 8


@pytest.mark.parametrize("vocabulary", [Vocabulary.bytes(), Vocabulary.characters])
def test_empty_sources_are_named(tmp_path, vocabulary):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(TextError, match=r"empty\.txt: empty file"):
        Corpus.from_files(tmp_path, vocabulary)
    with pytest.raises(TextError, match="train: empty text"):
        Corpus.from_text("", vocabulary)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1, float("nan"), True])
def test_fractions_out_of_range_are_refused(fraction):
    with pytest.raises(ValueError, match="valid: expected a fraction"):
        Corpus.from_text("abc", Vocabulary.bytes(), valid=fraction)


def test_fractions_leave_something_for_training():
    with pytest.raises(ValueError, match="less than 1 together"):
        Corpus.from_text("abc", Vocabulary.bytes(), valid=0.5, test=0.5)


def test_policy_error_refuses_unknown_symbols(files):
    with pytest.raises(TextError, match="'—' is not among"):
        Corpus.from_files(files, Vocabulary.characters(TEXT.replace("—", "")), policy="error")


@pytest.mark.usefixtures("everything_cached")
def test_facts_beside_the_cached_tokens_are_plain_json(files):
    Corpus.from_files(files, Vocabulary.bytes())
    facts = json.loads(cached_files()[1].read_text().partition("\n")[0])
    assert facts["count"] == len(TEXT.encode())


def test_unknown_tokens_of_a_split_are_counted(monkeypatch):
    monkeypatch.setattr("fastseq.text.store._BLOCK", 4)
    vocabulary = Vocabulary.characters("ab")
    corpus = Corpus.from_text("abxabyabzz", vocabulary, valid=0.3)
    assert corpus.unknown_token_rate("train") == pytest.approx(2 / 7)
    assert corpus.unknown_token_rate("valid") == pytest.approx(2 / 3)
    assert Corpus.from_text("abab", vocabulary).unknown_token_rate("train") == 0
    codes = Corpus.from_text("abé", Vocabulary.codes(128), valid="ab")
    assert codes.unknown_token_rate("valid") is None
