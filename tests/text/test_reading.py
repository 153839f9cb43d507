"""Reading: UTF-8 across blocks, errors with file and offset, removal of the licence."""

import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.text import TextError, find_sources, read_chunks, read_documents, read_text, reading

HEADER = (
    "\ufeffThe Project Gutenberg eBook\r\n\r\n*** START OF THE PROJECT GUTENBERG EBOOK {} ***\r\n"
)
FOOTER = "*** END OF THE PROJECT GUTENBERG EBOOK {} ***\r\nlicence\r\n"


def book(text, title="A TITLE"):
    return HEADER.format(title) + text + FOOTER.format(title)


@pytest.fixture(params=[1, 2, 3, 7, 1 << 20])
def any_block_size(request, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("any_block_size")
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_text_does_not_depend_on_the_blocks(tmp_path, name):
    text = "\ufeffZoë – 10 €\r\n😀\0\rend\n"
    open_ = gzip.open if name.endswith(".gz") else open
    with open_(tmp_path / name, "wb") as file:
        file.write(text.encode())
    assert read_text(tmp_path / name) == text
    assert list(read_chunks(tmp_path / name))


@pytest.mark.usefixtures("any_block_size")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("ab€".encode() + b"\xff" + b"tail", "invalid UTF-8 at byte 5: invalid start byte"),
        (b"abcd\xe2\x82x", "invalid UTF-8 at byte 4: invalid continuation byte"),
        ("abc€".encode()[:-1], "invalid UTF-8 at byte 3: unexpected end of data"),
        ("naïve".encode("latin-1"), "invalid UTF-8 at byte 2: invalid continuation byte"),
        (b"ab\xed\xa0\x80", "invalid UTF-8 at byte 2: invalid continuation byte"),
    ],
)
def test_invalid_utf8_is_located(tmp_path, data, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(TextError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}: {message}; try the encoding cp1252"


@pytest.mark.usefixtures("any_block_size")
@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 2, b"\xff\xfea\0", "né€".encode()[:-1] + b"x"]
)
def test_any_bytes_are_preserved_on_request(tmp_path, data):
    path = tmp_path / "raw.txt"
    path.write_bytes(data)
    assert read_text(path, errors="surrogateescape").encode(errors="surrogateescape") == data
    with pytest.raises(TextError):
        read_text(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_recognised(tmp_path, encoding):
    path = tmp_path / "wide.txt"
    path.write_bytes("Some text\n".encode(encoding))
    with pytest.raises(
        TextError, match=r"wide\.txt: .*UTF-(16|32).* at byte [01]\)?, expected UTF-8"
    ):
        read_text(path)


def test_damaged_gzip_is_named(tmp_path):
    whole = gzip.compress(b"some text " * 1000)
    for n, data in enumerate([whole[:-9], b"plain", whole[:12] + b"\xff" * 9 + whole[21:]]):
        path = tmp_path / f"{n}.txt.gz"
        path.write_bytes(data)
        with pytest.raises(TextError, match=f"{n}.txt.gz: damaged gzip file"):
            read_text(path)


@given(
    st.lists(st.text("ab \n*", max_size=60).map(lambda text: text + "\n"), min_size=1, max_size=3),
    st.integers(1, 200),
)
def test_licence_is_left_out_of_one_book_or_several(contents, size):
    text = "".join(map(book, contents))
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert "".join(reading.strip_gutenberg(pieces)) == "".join(contents)


def test_licence_is_left_out_across_block_borders(monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 2000)
    content = "line of a story\n" * 1000
    for size in 1, 13, 997, 2000:
        text = book(content, "A TITLE\nOF TWO LINES")
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert "".join(reading.strip_gutenberg(pieces)) == content


@given(
    st.text("ab*\n ").map(lambda text: text + "\n*** START OF A STORY ***\n"), st.integers(1, 9)
)
def test_other_texts_are_left_alone(text, size):
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert "".join(reading.strip_gutenberg(pieces)) == text


def test_licence_is_kept_on_request(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(book("story\n").encode())
    assert read_text(path) == "story\n"
    assert read_text(path, strip_licence=False) == book("story\n")


def test_sources_are_files_folders_and_patterns(tmp_path):
    for name in (
        "b.txt",
        "a.md",
        "sub/c.TXT",
        "sub/d.text.gz",
        ".hidden.txt",
        "e.py",
        "sub/[f].txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    def names(paths):
        return [str(path.relative_to(tmp_path)) for path in find_sources(paths)]

    assert names(tmp_path) == ["a.md", "b.txt", "sub/[f].txt", "sub/c.TXT", "sub/d.text.gz"]
    assert names(str(tmp_path / "*.py")) == ["e.py"]
    assert names([tmp_path / "sub/[f].txt", tmp_path / "b.*"]) == ["sub/[f].txt", "b.txt"]


def test_missing_sources_are_named(tmp_path):
    names = ["none.txt", "none*"]
    if os.name == "posix":  # Windows lets only administrators make links
        (tmp_path / "none-linked.txt").symlink_to(tmp_path / "none.txt")
        names.append("none-linked.txt")
    for name in names:
        with pytest.raises(FileNotFoundError, match=r"none.*: no such file or folder"):
            find_sources(tmp_path / name)
    with pytest.raises(TextError, match=r"expected files ending in \.txt"):
        find_sources(tmp_path)
    with pytest.raises(TextError, match="expected at least one file"):
        find_sources([])


def test_documents_are_set_apart_by_the_separator(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    documents = read_documents([tmp_path / name for name in "abc"], separator="|")
    assert ["".join(chunks) for chunks in documents] == ["a|", "b|", "c"]
