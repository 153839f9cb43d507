"""Named corpora: tolerant titles, downloads, and one-line errors."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastseq.text import TextError, datasets, read_text

NAMES = [  # as found in the wild
    "A Journey to the Center of the Earth.txt",
    "Around the World in Eighty days.txt",
    "Five weeks in a Baloon.txt",
    "From the Earth to the Moon; and, Round the Moon.txt",
    "Off on a comet.txt.gz",
    "pg3809.txt",
    "Jules Verne - The Mysterious Island.txt",
    "twenty_thousand_leagues_under_the_seas.txt",
]
LOCAL = Path(__file__).parents[3] / "shared" / "data" / "verne"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSEQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTSEQ_DATA", raising=False)


@pytest.fixture
def verne(tmp_path):
    folder = tmp_path / "data" / "verne"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(f"{name}\r\nstory\r\n".encode())
    return folder


@pytest.fixture
def pooch(monkeypatch):
    """Simulate the network: write each requested address into the file."""

    def retrieve(url, known_hash, fname, path):
        file = Path(path) / fname
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"text from {url}")
        return str(file)

    monkeypatch.setitem(sys.modules, "pooch", SimpleNamespace(retrieve=retrieve))


def test_the_manual_is_the_default():
    found = datasets.find()
    assert found == datasets.find("python-manual") == datasets.python_manual()
    text = found.text("any title")
    assert len(text) > 400_000
    assert 'The "assert" statement' in text
    assert f"{len(text):,} characters" in found.description


def test_titles_are_matched_one_to_one(verne):
    found = datasets.find("verne", str(verne))
    assert [path.name for path in found.files] == NAMES
    assert [found.path(title).name for title in datasets.VERNE] == NAMES
    assert found.path("Michael Strogoff") is None


@pytest.mark.parametrize("level", ["verne", "verne/.."])
def test_verne_is_found_by_environment_and_then_the_default(verne, monkeypatch, level):
    monkeypatch.setenv("FASTSEQ_DATA", str(verne.parent / level))
    assert datasets.find() == datasets.find("verne")
    assert datasets.find().name == "verne"
    assert str(verne) in datasets.find().description.replace("/verne/..", "")


def test_any_folder_or_file_is_a_corpus(verne):
    found = datasets.find(verne)
    assert len(found.files) == len(NAMES)
    assert found.path("The Mysterious Island").name == NAMES[6]
    assert datasets.find(verne / NAMES[1]).text() == f"{NAMES[1]}\nstory\n"


def test_text_of_a_title_or_else_of_everything(verne):
    (verne / NAMES[4]).unlink()  # not really a gzip file
    found = datasets.find(verne)
    assert found.text("Five Weeks in a Balloon") == f"{NAMES[2]}\nstory\n"
    assert found.text("Michael Strogoff") == found.text()
    assert found.text().count("story\n") == len(NAMES) - 1


@pytest.mark.usefixtures("pooch")
def test_only_missing_novels_are_fetched(verne):
    (verne / NAMES[0]).unlink()
    found = datasets.find("verne", str(verne))
    fetched = found.path("A Journey to the Centre of the Earth")
    assert fetched.parent == Path(datasets.cache_dir()) / "verne"
    assert "/18857/pg18857.txt" in read_text(fetched)
    assert [path.name for path in found.files[1:]] == NAMES[1:]


@pytest.mark.usefixtures("pooch")
def test_fetched_novels_are_found_again(monkeypatch):
    first = datasets.find("verne")
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert datasets.find("verne") == datasets.find() == first


def test_without_pooch_or_network_there_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(TextError, match=r"not found; pip install 'fastseq-rnn\[data\]'"):
        datasets.find("verne")

    def retrieve(*_):
        raise OSError("no route\nto the host")

    monkeypatch.setitem(sys.modules, "pooch", SimpleNamespace(retrieve=retrieve))
    with pytest.raises(TextError, match=r"verne: cannot fetch https://.*\.txt: no route$"):
        datasets.find("verne")


@pytest.mark.parametrize("name", ["shakespeare", "wikitext-2"])
def test_other_names_are_local_folders(tmp_path, name):
    with pytest.raises(TextError, match=f"{name}: not found; set FASTSEQ_DATA .*'{name}'"):
        datasets.find(name, str(tmp_path))
    (tmp_path / name).mkdir()
    (tmp_path / name / "train.txt").write_text("words")
    for folder in tmp_path, tmp_path / name:
        found = datasets.find(name, str(folder))
        assert (found.name, found.text("train")) == (name, "words")


def test_unknown_corpora_are_refused(tmp_path):
    with pytest.raises(TextError, match="one of python-manual, shakespeare, verne, wikitext-2"):
        datasets.find("vern")
    with pytest.raises(TextError, match="folder: expected a folder, got"):
        datasets.find("verne", str(tmp_path / "none"))


@pytest.mark.skipif(not LOCAL.is_dir(), reason="the novels are not at hand")
def test_files_bear_the_numbers_of_the_table():
    found = datasets.find("verne", str(LOCAL))
    for title, number in datasets.VERNE.items():
        path = found.path(title)
        assert f"[eBook #{number}]" in read_text(path, strip_licence=False)[:3000]
        text = read_text(path)
        assert "Project Gutenberg License" not in text
        assert len(text) > 200_000
