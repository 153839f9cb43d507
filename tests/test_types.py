"""What a type checker says of a user's program."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

PROGRAM = """
import numpy as np
from fastseq import nn

x, ids, target = np.zeros((2, 3)), np.zeros(3, int), np.zeros(3, int)
"""
# Expression -> its type, where A stands for an array.
TYPES = {
    "nn.LSTM(3, 4)(x)": "tuple[A, tuple[A, A]]",
    "nn.LSTM(3, 4)(x, lengths=[1])[1][0]": "A",
    "nn.GRU(3, 4)(x)": "tuple[A, A]",
    "nn.RNN(3, 4)(x)": "tuple[A, A]",
    "nn.LSTMCell(3, 4)(x)": "tuple[A, A]",
    "nn.GRUCell(3, 4)(x)": "A",
    "nn.Linear(3, 4)(x)": "A",
    "nn.Embedding(3, 4)(ids)": "A",
    "nn.Dropout()(x)": "A",
    "nn.ReLU()(x)": "A",
    "nn.LogSoftmax()(x)": "A",
    "nn.LayerNorm(3)(x)": "A",
    "nn.LastStep()(x)": "A",
    "nn.FinalState()((x, x))": "A",
    "nn.CrossEntropyLoss()(x, target)": "float | A",
    "nn.NLLLoss()(x, target)": "float | A",
    "nn.MSELoss()(x, x)": "float | A",
    "nn.BCEWithLogitsLoss().backward()": "A",
    "nn.ModuleList()[0]": "Module",
    "nn.ModuleList()[1:]": "ModuleList",
    "nn.Sequential()[1:]": "Sequential",
    "nn.Linear(3, 4).weight": "Parameter",
}
WRONG = "nn.LSTM(3, 4)(x, length=[1])"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Lines of mypy, one for each expression."""
    folder = tmp_path_factory.mktemp("typed")
    lines = [f"reveal_type({expression})" for expression in (*TYPES, WRONG)]
    (folder / "program.py").write_text(PROGRAM + "\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "program.py"]
    command += ["--follow-imports=silent", "--config-file=", "--cache-dir=cache"]
    root = str(Path(__file__).parents[1])
    run = subprocess.run(
        command, cwd=folder, env={"MYPYPATH": root, "PATH": ""}, capture_output=True, text=True
    )
    assert not run.stderr
    return run.stdout.splitlines()


def short(revealed):
    revealed = re.sub(r"numpy\.ndarray\[.*?numpy\.dtype\[Any\]\]", "A", revealed)
    revealed = re.sub(r"fastseq\.[a-z_.]*", "", revealed).replace("builtins.", "")
    return revealed.replace("Union[float, A]", "float | A")


@pytest.mark.slow
def test_types_that_a_user_sees(report):
    notes = [re.search(r'Revealed type is "(.*)"', line) for line in report]
    revealed = [short(note[1]) for note in notes if note]
    assert dict(zip(TYPES, revealed, strict=False)) == TYPES


@pytest.mark.slow
def test_a_wrong_keyword_is_found(report):
    assert any('Unexpected keyword argument "length"' in line for line in report)
