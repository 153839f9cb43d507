"""Documents by file, line and column; encodings."""

import csv
import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastseq.text import Corpus, Reading, TextError, Vocabulary, corpus, documents, reading
from fastseq.text.documents import gathered, read_documents

NAMES = ["Ada", "Emmy Noether", "Zoë", "Sophie", "“Mary”"]
TABLE = [["id", "name", "note"], *([str(n), name, "x"] for n, name in enumerate(NAMES))]


def as_texts(paths, kind, **options):
    options = {"separator": ""} | options
    return ["".join(d) for d in read_documents(paths, reading=Reading(kind), **options)]


def write_table(path, rows=TABLE, **options):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows(rows)
    return path


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES), encoding="utf-8")
    return path


# -- lines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_every_line_that_is_not_blank_is_a_document(tmp_path, end, last):
    path = tmp_path / "names.txt"
    text = f"\ufeff{end}" + end.join([*NAMES[:2], "", "  ", *NAMES[2:]]) + end * last
    path.write_bytes(text.encode())
    assert as_texts([path], "lines") == NAMES
    assert as_texts([path, path], "lines", separator="|") == [name + "|" for name in NAMES * 2]


@pytest.mark.parametrize("block", [1, 2, 7])
@pytest.mark.parametrize("kind", ["lines", "csv:2"])
def test_documents_do_not_depend_on_the_blocks_of_reading(tmp_path, monkeypatch, kind, block):
    path = write_table(tmp_path / "t.csv", [["a", "b\nc"], ["", 'd "e", f'], ["g", "h"]])
    whole = as_texts([path], kind)
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    assert as_texts([path], kind) == whole
    assert kind == "lines" or whole == ["b\nc", 'd "e", f', "h"]


def test_a_text_without_lines_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_RECORD", 100)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 10)
    path = tmp_path / "long.txt"
    path.write_text("ab\n" + "x" * 1000)
    with pytest.raises(TextError, match=r"long.txt: no end of a line in 1\d\d characters"):
        as_texts([path], "lines")


# -- columns -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"quoting": csv.QUOTE_ALL}, {"lineterminator": "\n"}])
def test_a_column_by_name_or_number(tmp_path, options):
    path = write_table(tmp_path / "t.csv", **options)
    assert as_texts([path], "csv:name") == NAMES
    assert as_texts([path], "csv:2") == ["name", *NAMES]
    bare = write_table(tmp_path / "bare.csv", TABLE[1:], **options)
    assert as_texts([bare, bare], "csv:2") == NAMES * 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.text("a,\"\n é'", max_size=6), st.text("b\r\n", max_size=3))))
def test_what_csv_writes_is_read(tmp_path, rows):
    path = write_table(tmp_path / "t.csv", rows)
    assert as_texts([path], "csv:1") == [first for first, _ in rows if first.strip()]


def test_long_fields(tmp_path, monkeypatch):
    limit = csv.field_size_limit()
    path = write_table(tmp_path / "t.csv", [["text"], ["x" * 200_000], ["y"]])
    assert list(map(len, as_texts([path], "csv:text"))) == [200_000, 1]
    monkeypatch.setattr(documents, "MAX_RECORD", 150_000)
    with pytest.raises(TextError, match=r"t.csv: .*field larger"):
        as_texts([path], "csv:text")
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (
            "id,name\n1,Ada\n",
            "csv:nam",
            "no column 'nam' in the first row, which has 'id', 'name'",
        ),
        ("id;name\n1;Ada\n", "csv:name", "has 'id;name'"),
        ("id,name\n1,Ada\n\n2\n", "csv:name", "line 4: expected at least 2 columns, got 1"),
        ("1,2\n", "csv:3", "line 1: expected at least 3 columns, got 2"),
        ("\n", "csv:name", "no column 'name' in the first row, which has nothing"),
        ('name\n"abc\nx\n', "csv:name", "line 3: unexpected end of data"),
    ],
)
def test_malformed_tables(tmp_path, content, kind, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(TextError, match=f"t.csv: .*{message}"):
        as_texts([tmp_path / "t.csv"], kind)


@pytest.mark.parametrize(
    "kind",
    ["line", "csv", "csv:", "csv:0", "csv:00", "csv:" + "9" * 5000, "", "tsv:1", "lines:1"],
)
def test_unknown_divisions(kind):
    with pytest.raises(ValueError, match="documents: expected files, lines or csv:COLUMN"):
        Reading(kind)
    with pytest.raises(TypeError, match="documents"):
        Reading(3)


# -- corpora -------------------------------------------------------------------------------

MAKERS = [
    Vocabulary.characters,
    Vocabulary.words,
    Vocabulary.bytes(),
    lambda t: Vocabulary.words(t),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("cached", [False, True])
def test_a_corpus_of_lines_is_one_of_files_of_a_line(tmp_path, names, monkeypatch, make, cached):
    if cached:
        monkeypatch.setattr(corpus, "IN_MEMORY_BYTES", -1)
        monkeypatch.setattr(corpus, "COUNTED_ANEW_BYTES", -1)
    monkeypatch.setattr("fastseq.text.store._PIECE", 4)
    found = Corpus.from_files(names, make, documents="lines", valid=0.2)
    (tmp_path / "files").mkdir()
    for n, name in enumerate(NAMES):
        (tmp_path / "files" / f"{n}.txt").write_text(name, encoding="utf-8")
    files = Corpus.from_files(tmp_path / "files", found.vocabulary, documents=True, valid=0.2)
    for split in ("train", "valid"):
        np.testing.assert_array_equal(found.tokens(split), files.tokens(split))
    assert found.fingerprint() == files.fingerprint()
    assert found.unknown_rate == files.unknown_rate == 0
    assert found.reading == Reading("lines")
    assert files.reading == Reading("files")
    table = Corpus.from_files(write_table(tmp_path / "t.csv"), found.vocabulary,
                              documents="csv:name", valid=0.2)  # fmt: skip
    assert table.fingerprint() == found.fingerprint()


def test_line_ends_are_no_characters_of_lines(names):
    vocabulary = Corpus.from_files(names, Vocabulary.characters, documents="lines").vocabulary
    assert "\n" not in vocabulary.tokens
    assert vocabulary.lookup("".join(NAMES)).min() > 0


def test_words_of_two_lines_stay_apart(names):
    vocabulary = Corpus.from_files(names, Vocabulary.words, documents="lines").vocabulary
    assert {"Ada", "Emmy", "Noether", "Zoë"} < set(vocabulary.tokens)


def test_texts_are_read_differently_from_the_same_cache(names, monkeypatch):
    monkeypatch.setattr(corpus, "IN_MEMORY_BYTES", -1)
    vocabulary = Vocabulary.bytes().with_documents()
    sizes = [
        len(Corpus.from_files(names, vocabulary, documents=kind).tokens())
        for kind in ("files", "lines", "csv:1", True)
    ]
    assert sizes[0] == sizes[3] == sizes[1]  # one end for each line end, or one of the file
    bare = "".join(NAMES).encode()
    counts = np.bincount(Corpus.from_files(names, vocabulary, documents="lines").tokens())
    assert counts[vocabulary.eod_id] == len(NAMES)
    assert counts[: vocabulary.eod_id].sum() == len(bare)


@pytest.mark.parametrize("policy", ["unk", "skip"])
def test_documents_of_unknown_symbols(names, policy):
    vocabulary = Vocabulary.characters("Ad").with_documents()
    found = Corpus.from_files(names, vocabulary, documents="lines", policy=policy)
    text = "".join(NAMES)
    unknown = sum(c not in "Ad" for c in text)
    ends = (found.tokens() == vocabulary.eod_id).sum()
    assert found.unknown_rate == pytest.approx(unknown / (len(text) + ends))
    assert ends == (len(NAMES) if policy == "unk" else 1)  # nothing is left of the others


def test_gathering_keeps_the_text(monkeypatch):
    monkeypatch.setattr(documents, "_GATHERED", 5)
    pieces = ["a", "", "bcd", "efghijk", "l"]
    found = list(gathered(pieces))
    assert "".join(found) == "".join(pieces)
    assert found == ["abcdefghijk", "l"]


# -- encodings -----------------------------------------------------------------------------

ENCODINGS = ["utf-8", "latin1", "cp1252", "utf-16", "utf-16-be", "utf-32", "utf-8-sig",
             "shift_jis", "gb18030", "utf-7", "iso2022_jp", "cp437", "big5"]  # fmt: skip


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_encoding(tmp_path, monkeypatch, encoding, block):
    text = "".join(c for c in "Zoë é 日本語 – the end\n" if c.encode(encoding, "ignore")) * 3
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(text.encode(encoding)))
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    assert reading.read_text(tmp_path / "t.txt.gz", encoding=encoding) == text


@pytest.mark.parametrize("make", [Vocabulary.characters, Vocabulary.bytes()])
def test_corpora_of_an_encoding(names, tmp_path, make):
    plain = Corpus.from_files(names, make, documents="lines")
    other = tmp_path / "other.txt"
    other.write_text(names.read_text(encoding="utf-8"), encoding="cp1252")
    found = Corpus.from_files(other, make, documents="lines", encoding="windows-1252")
    assert found.fingerprint() == plain.fingerprint()
    assert found.reading == Reading("lines", "cp1252")
    assert Reading.from_json(found.reading.to_json()) == found.reading


@pytest.mark.parametrize("block", [1, 4, 1 << 20])
@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"abc\xe9 d", "utf-8", r"invalid UTF-8 at byte 3: .*; try the encoding cp1252"),
        (b"abcd\xe9\x81", "utf-8", r"invalid UTF-8 at byte 4: .*; try the encoding"),
        (b"\xef\xbb\xbfab\xff", "utf-8-sig", r"invalid UTF-8-SIG at byte 5: .*encoding utf-8"),
        (b"abc\xe9", "ascii", r"invalid ASCII at byte 3: .*; try the encoding utf-8"),
        (b"a\x81b", "cp1252", r"invalid CP1252 at byte 1: .*; try the encoding utf-8"),
        (b"ab\x82", "shift_jis", r"invalid SHIFT_JIS at byte 2: .*incomplete"),
        ("ab".encode("utf-16-le") + b"\x00\xd8", "utf-16-le", "invalid UTF-16-LE at byte 4"),
    ],
)
def test_a_wrong_encoding(tmp_path, monkeypatch, data, encoding, message, block):
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    (tmp_path / "t.txt").write_bytes(data)
    with pytest.raises(TextError, match=f"t.txt: {message}") as error:
        reading.read_text(tmp_path / "t.txt", encoding=encoding)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "latin1"])
@pytest.mark.parametrize("wide", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_recognised(tmp_path, encoding, wide):
    (tmp_path / "t.txt").write_bytes(("plain text " * 20).encode(wide))
    with pytest.raises(TextError, match=rf"looks like UTF-16 .*; try the encoding {wide}"):
        reading.read_text(tmp_path / "t.txt", encoding=encoding)


@pytest.mark.parametrize("encoding", ["hex", "utf-9", "", "rot13", "base64", "a\0b", "\udcff"])
def test_unknown_encodings(encoding):
    with pytest.raises(ValueError, match="encoding: expected a text encoding"):
        Reading(encoding=encoding)
    with pytest.raises(TypeError, match="encoding"):
        Reading(encoding=8)
