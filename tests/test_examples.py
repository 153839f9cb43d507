"""Every file of examples/ runs, and shows what it promises."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import fastseq

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run an example as a script; return what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def number(pattern, text):
    return float(re.search(pattern, text)[1])


def test_sequence_classifier(run):
    out = run("sequence_classifier.py", "--steps", "100")
    assert number(r"accuracy (\S+)", out) > 0.85  # seven of ten strings are balanced


def test_tagger(run):
    out = run("tagger.py", "--steps", "100")
    assert number(r"accuracy (\S+)", out) > 0.7


def test_time_series(run):
    out = run("time_series.py", "--steps", "100")
    error, of_repeating = number(r"held out: (\S+),", out), number(r"last value: (\S+),", out)
    assert error < 0.7 * of_repeating


def test_streaming(run):
    out = run("streaming.py", "--steps", "150")
    assert re.match(r"step 700: .* was expected\n", out)
    assert len(out.splitlines()) < 5  # no warnings where nothing happens


def test_character_model(run, tmp_path):
    (tmp_path / "text.txt").write_text("to be or not to be " * 300)
    out = run("character_model.py", "text.txt", "--steps", "12", "--save", "model.safetensors")
    losses = [float(loss) for loss in re.findall(r"loss (\S+):", out)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert fastseq.LanguageModel.load("model.safetensors").config.cell == "gru"


@pytest.mark.parametrize("has_torch", [True, False])
def test_load_pytorch(has_torch, run, monkeypatch):
    """Where PyTorch is missing, both runs take the way without it."""
    from importlib import util

    has_torch = has_torch and util.find_spec("torch") is not None
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: found(name) if has_torch else None)
    out = run("load_pytorch.py")
    assert "output (20, 3, 4)" in out
    assert ("difference" in out) == has_torch
    if has_torch:
        assert number(r"difference from PyTorch: (\S+)", out) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_every_example_explains_itself(name):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--help"],
        env={"PYTHONPATH": str(Path(fastseq.__file__).parents[1])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lower().startswith("usage: ")


def test_every_example_has_a_test():
    tested = {name for name in NAMES if f"test_{Path(name).stem}" in globals()}
    assert set(NAMES) - tested == {"neural_bytes_verne.py"}  # see neural_bytes/test_helpers.py
