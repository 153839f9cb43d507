"""Fixtures of the command line: an empty folder, a text, a model, a command to run."""

from pathlib import Path

import pytest
from small import TEXT, TINY

from fastseq import cli, get_num_threads, set_num_threads
from fastseq.cli import main


@pytest.fixture(autouse=True)
def _stay(tmp_path, monkeypatch):
    """Run in an empty folder, and restore the number of threads."""
    monkeypatch.chdir(tmp_path)
    # Subprocesses use the same fastseq.
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[1]))
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def fastseq(capsys):
    """Run a command: status, lines of stdout, lines of stderr."""

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            status = end.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def refused(fastseq):
    """Run a command that must fail with one line; return that line."""

    def run(*arguments, status=2):
        got, _, err = fastseq(*arguments)
        assert (got, err.count("\n")) == (status, 1), err
        return err

    return run


@pytest.fixture
def model(fastseq, text):
    """A run directory with a small trained model."""
    status, _, err = fastseq("train", text, "--out", "run", *TINY)
    assert status == 0, err
    return "run"
