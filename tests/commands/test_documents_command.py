"""Documents by line and column, and encodings, on the command line."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from small import TINY

from fastseq.lm import LanguageModel, open_checkpoint
from fastseq.text import Reading

NAMES = ["Ada", "Zoë", "Emmy", "Sophie", "Mary"] * 30


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES), encoding="cp1252")
    return path


@pytest.fixture
def table(tmp_path):
    with open(tmp_path / "names.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "name"), *enumerate(NAMES)])
    return tmp_path / "names.csv"


LINES = ["--documents", "lines", "--encoding", "cp1252"]


def test_a_run_keeps_how_its_texts_are_read(fastseq, names, table):
    status, _, err = fastseq("train", names, "--out", "run", *TINY, *LINES)
    assert status == 0, err
    for name in ("run/last.safetensors", "run/best.safetensors"):
        assert open_checkpoint(name).reading == Reading("lines", "cp1252")
    assert fastseq("train", "--resume", "--out", "run", "--steps", "30")[0] == 0
    # An older run does not record its texts, but the checkpoint knows how they were read.
    Path("run/texts.json").unlink()
    assert fastseq("train", names, "--resume", "--out", "run", "--steps", "40")[0] == 0
    shutil.rmtree("run/tensorboard", ignore_errors=True)
    line, *_ = fastseq("evaluate", "run", names, "--json")[1:]
    scores = json.loads(line)[str(names)]
    assert scores["tokens"] == len("".join(NAMES)) + len(NAMES)
    assert scores["unknown_rate"] == 0
    expected = LanguageModel.load("run").evaluate(NAMES, batch_size=32, overlap=512)
    assert scores["nats_per_token"] == expected.nats_per_token
    # The same documents from a table.
    options = ["--documents", "csv:name", "--encoding", "utf-8", "--json"]
    other = json.loads(fastseq("evaluate", "run", table, *options)[1])[str(table)]
    assert other == scores
    copied = fastseq("sample", "run", "--prime", "Zoë", "--length", "0", "--novelty", names)[1]
    assert "longest copied run, 3 tokens: 'Zoë'" in copied


def test_a_column(fastseq, table):
    status, _, err = fastseq("train", table, "--out", "run", *TINY, "--documents", "csv:name")
    assert status == 0, err
    vocabulary = LanguageModel.load("run").vocabulary
    assert set(vocabulary.tokens[1:-1]) == set("".join(NAMES))


def test_errors_have_one_line(refused, fastseq, names, table):
    error = refused("train", names, "--out", "run", *TINY)
    assert "names.txt: invalid UTF-8 at byte 6: " in error
    assert "try the encoding cp1252" in error
    assert "expected a text encoding" in refused("train", names, "--encoding", "hex")
    assert "expected files, lines or csv:COLUMN" in refused("train", "--documents", names)
    error = refused("train", table, *TINY, "--documents", "csv:nam")
    assert "no column 'nam' in the first row, which has 'id', 'name'" in error
    assert fastseq("train", table, "--out", "plain", *TINY)[0] == 0
    assert "no end of a document" in refused("evaluate", "plain", table, "--documents", "lines")


def test_documents_without_a_kind_are_files(fastseq, table):
    status, _, err = fastseq("train", table, "--out", "run", *TINY, "--documents")
    assert status == 0, err
    assert open_checkpoint("run").reading == Reading("files")
