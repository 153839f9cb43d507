"""The command `inspect` from outside."""

import json
import re

import pytest
from planted import UNIT, model_with_a_quote_unit, quoted_text

from fastseq.cli import main
from fastseq.lm import LanguageModel
from fastseq.text import Vocabulary

TEXT = quoted_text()


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command in a folder with a model and a text: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    model_with_a_quote_unit(TEXT).save("quotes.safetensors")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")

    def inspect(*arguments, model="quotes.safetensors", text="text.txt"):
        try:
            status = main(["inspect", model, text, *arguments])
        except SystemExit as end:  # argparse
            status = end.code
        return status, *capsys.readouterr()

    return inspect


def test_it_writes_a_page_and_prints_the_best_units(run, tmp_path):
    status, out, err = run("-o", "page.html")
    assert (status, err) == (0, "")
    assert re.search(rf"^quotes +0\.\d\d   h 0:{UNIT} +\+(0\.9\d|1\.00)", out, re.M)
    assert "Page: page.html, " in out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>quotes.safetensors reads text.txt</title>" in page
    assert f'"first":{{"layer":0,"unit":{UNIT},"show":"h"}}' in page


def test_the_ranking_as_json(run, tmp_path):
    status, out, _ = run("--json", "--ranked-tokens", "1500", "--max-tokens", "100")
    assert status == 0
    printed = json.loads(out)
    assert printed["page"] == "inspection.html"
    assert (tmp_path / "inspection.html").is_file()
    assert printed["notes"][0].startswith("the first 100 of ")
    assert printed["notes"][1] == "units are ranked by 1,500 tokens"
    quotes = next(one for one in printed["rankings"] if one["feature"] == "quotes")
    assert set(quotes) == {"feature", "meaning", "quantity", "chance", "units"}
    best = quotes["units"][0]
    assert (best["layer"], best["unit"]) == (0, UNIT)
    assert best["correlation"] > 0.9 > quotes["chance"]


def test_options_reach_the_page(run, tmp_path):
    LanguageModel(Vocabulary.bytes(), hidden_size=4, num_layers=2).save("bytes.safetensors")
    options = ["--layer", "1", "--unit", "2", "--quantity", "f", "--start", "10"]
    status, _, _ = run(*options, model="bytes.safetensors")
    assert status == 0
    page = (tmp_path / "inspection.html").read_text(encoding="utf-8")
    assert '"first":{"layer":1,"unit":2,"show":"f"}' in page
    assert '"start":10' in page
    assert '["f","forget gate","unsigned"]' in page
    run("--no-gates", model="bytes.safetensors")
    assert "forget gate" not in (tmp_path / "inspection.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--start", "99999"], "text.txt: text: expected more than 99,999 tokens, got "),
    (["--max-tokens", "0"], "max_tokens: expected at least 1, got 0"),
    (["--unit", "8"], "unit: expected at most 7, got 8"),
    (["--layer", "1"], "layer: expected at most 0, got 1"),
    (["--quantity", "i"], "quantity: expected one of h, got 'i'"),
    (["--quantity", "y"], "invalid choice: 'y'"),
    (["--threads", "0"], "threads: expected 1 to 4096, got 0"),
    (["-o", "nowhere/page.html"], "nowhere/page.html: No such file or directory"),
    (["-o", "."], ".: Is a directory"),
    (["-o", "text.txt"], "out: expected a new file, got text.txt"),
    (["-o", "quotes.safetensors"], "out: expected a new file, got quotes.safetensors"),
    (["-o", ""], "expected a name, got an empty string"),
])  # fmt: skip
def test_bad_input_gets_one_line_and_no_page(arguments, message, run, tmp_path):
    before = sorted(tmp_path.iterdir())
    status, _, err = run(*arguments)
    assert (status, err.count("\n")) == (2, 1), err
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


def test_files_that_are_missing_or_wrong(run, tmp_path):
    (tmp_path / "wrong.txt").write_bytes(b"abc\xff")
    assert "nowhere.txt: No such file" in run(text="nowhere.txt")[2]
    assert "wrong.txt: invalid UTF-8 at byte 3" in run(text="wrong.txt")[2]
    assert "text.txt: not a usable checkpoint" in run(model="text.txt")[2]
