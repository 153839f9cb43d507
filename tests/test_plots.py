"""Pictures: complete and reproducible files."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq import plots
from fastseq.reproduce.curves import experiment_curves
from fastseq.reproduce.experiments import EXPERIMENTS, Result, Settings, prepare
from fastseq.text import Dataset

pytest.importorskip("matplotlib")

TEXT = Dataset("text", "", embedded="one two three four five " * 30)


def result_of(name, losses, comparable=False):
    task = prepare(EXPERIMENTS[name], TEXT, Settings(seq_length=5))
    return Result(replace(task, comparable=comparable), list(losses), {}, 1.0)


def png_size(content):
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    return tuple(np.frombuffer(content[16:24], ">u4"))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(1, 50))
def test_smoothed_is_the_mean_of_the_last_values(values, window):
    expected = [np.mean(values[max(0, n - window) : n]) for n in range(1, len(values) + 1)]
    np.testing.assert_allclose(plots.smoothed(values, window), expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 10, 100])
@pytest.mark.parametrize("comparable", [False, True])
def test_curves_of_any_length(count, comparable):
    losses = np.linspace(277, 150, count)
    picture = experiment_curves([result_of("char-rnn", losses, comparable)])
    width, height = png_size(picture)
    assert width > height > 300


def test_several_curves_take_two_columns():
    one, two, three = (
        png_size(experiment_curves([result_of("word-rnn", [3.0, 2.0, 1.0])] * n))
        for n in (1, 2, 3)
    )
    assert two == (2 * one[0], one[1])
    assert three == (2 * one[0], 2 * one[1])


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_figures_give_the_same_bytes(kind):
    results = [result_of("char-lstm", [5.0, 4.0, 4.5, 3.0])]
    picture = experiment_curves(results, kind)
    assert picture == experiment_curves(results, kind)
    other = [result_of("char-lstm", [5.0, 4.0, 4.5, 3.1])]
    assert picture != experiment_curves(other, kind)


def test_published_losses_are_drawn_where_they_compare():
    losses = np.linspace(270, 150, 30)
    published, plain = (
        experiment_curves([result_of("char-rnn", losses, c)], "svg") for c in (True, False)
    )
    assert b"#d9661f" in published
    assert b"#d9661f" not in plain


def test_svg_refers_to_nothing_outside():
    picture = experiment_curves([result_of("char-rnn", [2.0, 1.0])], "svg")
    root = ET.fromstring(picture)
    links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
    assert links
    assert all(link.startswith("#") for link in links)


@pytest.mark.parametrize("records", [
    [],
    [{"step": 10, "train_loss": 2.0}],
    [{"step": 10, "train_loss": 2.0}, {"step": 20, "train_loss": 1.5, "valid_loss": 1.7}],
    [{"step": n, "valid_loss": 1 / n, "train_loss": None} for n in range(1, 6)],
])  # fmt: skip
def test_training_curve(records):
    assert png_size(plots.training_curve(records))


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=300),
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 50),
)  # fmt: skip
def test_means_of_a_run_cover_equal_numbers_of_steps(losses, log_every, validate_every, most):
    """Lines at validations, each the mean of any number of steps, do not change the means."""
    steps, records, before = len(losses), [], 0
    for step in range(1, steps + 1):
        if step % log_every == 0 or step % validate_every == 0 or step == steps:
            records.append({"step": step, "train_loss": np.mean(losses[before:step])})
            before = step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "MOST_MEANS", most)
        width, ends, means = plots.mean_losses(records)
    assert ends[-1] == steps
    assert len(ends) <= most + 1
    known = {0, *(record["step"] for record in records)}
    for end, mean in zip(ends, means, strict=True):
        if {end, end - width} <= known:
            assert mean == pytest.approx(np.mean(losses[end - width : end]), abs=1e-9)
    if validate_every % log_every == 0:  # every mean but the last is exact
        assert {*ends, *(ends[:-1] - width)} <= known


def test_nothing_is_drawn_without_matplotlib(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(plots.PlotError, match=r"pip install 'fastseq-rnn\[plot\]'"):
        plots.training_curve([])


def test_matplotlib_is_imported_for_drawing_alone():
    code = "import sys, fastseq.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
