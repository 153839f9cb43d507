"""Helpers, activations and scripts."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plain_models import flat

from fastseq.neural_bytes import activations, plot_loss, utils

EXAMPLE = Path(__file__).parents[2] / "examples" / "neural_bytes_verne.py"


A, B = [[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]], [[2.0, 0.0, 1.0], [1.0, 3.0, -2.0]]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (utils.initialize_empty_matrix(2, 3), [[0, 0, 0], [0, 0, 0]]),
        (utils.transpose(A), [[1, 0.5], [-2, 4], [3, -1]]),
        (utils.matrix_multiplication(A, utils.transpose(B)), [[5, -11], [0, 14.5]]),
        (utils.matrix_multiplication([[2]], [[3, 4]]), [[6, 8]]),
        (utils.elementwise_add(A, B), [[3, -2, 4], [1.5, 7, -3]]),
        (utils.elementwise_substraction(A, B), [[-1, -2, 2], [-0.5, 1, 1]]),
        (utils.elementwise_multiplication(A, B), [[2, 0, 3], [0.5, 12, 2]]),
        (utils.scale_matrix(A, 2), [[2, -4, 6], [1, 8, -2]]),
        (utils.matrix_multiplication(np.array(A), np.array(A).T), [[14, -10.5], [-10.5, 17.25]]),
        (utils.elementwise_add([], []), []),
        (utils.transpose([]), []),
    ],
)
def test_matrix_helpers(result, expected):
    assert result == expected
    assert type(result) is list
    assert all(type(row) is list for row in result)


def test_rows_of_an_empty_matrix_are_separate_lists():
    matrix = utils.initialize_empty_matrix(2, 2)
    matrix[0][0] = 1.0
    assert matrix == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (utils.matrix_multiplication, (A, B)),
        (utils.elementwise_add, (A, [[1.0, 2.0]])),
        (utils.elementwise_substraction, (A, utils.transpose(A))),
        (utils.elementwise_multiplication, (A, [])),
        (utils.elementwise_add, ([[1.0], [1.0, 2.0]], A)),
        (utils.transpose, ([[1.0], [1.0, 2.0]],)),
        (utils.scale_matrix, ([1.0, 2.0], 3.0)),
    ],
)
def test_shapes_that_do_not_match(function, arguments):
    with pytest.raises(ValueError, match="expected"):
        function(*arguments)


def test_character_vocabulary():
    char_to_ix, ix_to_char = utils.build_ascii_vocab()
    assert [ix_to_char[i] for i in range(256)] == [chr(i) for i in range(256)]
    assert utils.text_to_indices("aé“z", char_to_ix) == [97, 233, 0, 122]
    assert len(utils.build_ascii_vocab(128)[0]) == 128


def test_word_vocabulary_falls_in_frequency_and_keeps_first_seen_order():
    word_to_ix, ix_to_word = utils.build_word_vocab("b a  c\na B c d", max_words=4)
    assert ix_to_word == {0: "a", 1: "c", 2: "b", 3: "B"}
    assert word_to_ix == {word: i for i, word in ix_to_word.items()}
    assert utils.text_to_word_indices("c d a\tB", word_to_ix) == [1, 0, 0, 3]


POINTS = [-40.0, -15.0, -1.5, 0.0, 0.3, 15.0, 40.0]


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (activations.sigmoid, lambda x: 1 / (1 + math.exp(-max(-15.0, min(15.0, x))))),
        (activations.sigmoid_derivative, lambda y: y * (1 - y)),
        (activations.tanh, math.tanh),
        (activations.tanh_derivative, lambda y: 1 - y * y),
        (activations.relu, lambda x: max(x, 0.0)),
        (activations.relu_derivative, lambda x: 1.0 if x > 0 else 0.0),
    ],
)
def test_activations(function, plain):
    expected = [plain(x) for x in POINTS]
    assert function(POINTS) == pytest.approx(expected, rel=1e-14)
    assert flat(function([[x] for x in POINTS])) == pytest.approx(expected, rel=1e-14)
    assert function(0.3) == pytest.approx(plain(0.3), rel=1e-14)


def test_softmax_of_a_column():
    p = activations.softmax([[1000.0], [1000.0 + math.log(3)], [-1000.0]])
    assert flat(p) == pytest.approx([0.25, 0.75, 0.0])
    with pytest.raises(ValueError, match="x: expected numbers"):
        activations.softmax([[1.0], [1.0, 2.0]])


# -- scripts ----------------------------------------------------------------------------------


def test_plot_loss_draws_the_curve():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    plot_loss([3.0, 2.0, 1.5])
    (line,) = plt.gca().lines
    assert line.get_xydata().tolist() == [[1, 3.0], [2, 2.0], [3, 1.5]]
    plt.close("all")


@pytest.mark.parametrize(("level", "cell"), [("char", "rnn"), ("word", "lstm")])
def test_the_example_runs(tmp_path, level, cell):
    pytest.importorskip("matplotlib")
    text = tmp_path / "text.txt"
    text.write_text("The sea is everything. It covers seven tenths of the globe.\n" * 40)
    done = subprocess.run(
        [sys.executable, EXAMPLE, text, level, cell],
        capture_output=True, encoding="utf-8", timeout=120,
        env={**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    losses = [float(x.split()[-1]) for x in done.stdout.splitlines() if x.startswith("epoch")]
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 2
    assert done.stdout.count("----\n") == 10
