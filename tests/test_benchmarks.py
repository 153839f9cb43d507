"""Every benchmark runs, and fastseq never holds all logits. No time is asserted."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from benchmarks.timing import Timing, interleave, ratio_range
from fastseq import backend

command = pytest.importorskip("benchmarks.command", reason="needs threadpoolctl")

pytestmark = pytest.mark.skipif(
    backend.get_backend() == "oracle", reason="too slow without compiled kernels"
)


@pytest.fixture
def bench(tmp_path):
    """Run a script with one round; return its results. Settings of libraries are restored."""
    before = backend.get_num_threads()

    def run(script, *arguments):
        path = tmp_path / f"{script}.json"
        main = importlib.import_module(f"benchmarks.{script}").main
        main([*arguments, "--rounds", "1", "--json", str(path)])
        return json.loads(path.read_text(encoding="utf-8"))

    yield run
    command.set_threads(before)
    if "torch" in sys.modules:
        sys.modules["torch"].backends.mkldnn.set_flags(True)


@pytest.mark.parametrize(
    ("script", "needs", "arguments", "figure"),
    [
        ("training", "torch", ["--only", "char-rnn"], "ratio"),
        ("inference", "onnxruntime onnx", ["--only", "B1 T1"], "ratio"),
        ("generation", "torch", ["--hidden", "8"], "ratio"),
        ("threads", "onnxruntime onnx", ["--only", "B1 T1"], "ratio"),
        ("products", "", ["--only", "char-rnn dW_hh"], "ratio"),
        ("pure_python", "", ["--only", "char-rnn", "--hidden", "4", "--length", "3"], "ratio"),
        ("roofline", "matplotlib", ["--only", "gru forward H=128 B=1"], "gflops"),
        ("scaling", "matplotlib torch", ["--only", "T=8"], "ratio"),
    ],
)
def test_script_writes_figures_and_environment(
    bench, tmp_path, monkeypatch, script, needs, arguments, figure
):
    for module in needs.split():
        pytest.importorskip(module)
    picture = tmp_path / "picture.png"
    if "matplotlib" in needs:
        arguments = [*arguments, "--plot", str(picture)]
    if script == "roofline":
        monkeypatch.setattr("benchmarks.roofline.PEAK_SIZES", (64,))
    written = bench(script, *arguments)
    assert written["rows"]
    assert all(row[figure] > 0 for row in written["rows"])
    assert {"cpu", "backend", "threads", "numpy", "fastseq"} <= written["config"].keys()
    assert picture.exists() == ("matplotlib" in needs)


@pytest.mark.parametrize(("side", "name"), [([], "tiny"), (["--pytorch"], "tiny-pytorch")])
def test_quality_keeps_command_output_and_figure(side, name, tmp_path, monkeypatch):
    if side:
        pytest.importorskip("torch")
    quality = importlib.import_module("benchmarks.quality.run")
    options = "--hidden-size 4 --embedding-size 3 --batch-size 2 --seq-length 8 --minutes 0.005"
    recipe = quality.Recipe("tiny", "*.txt", "0.8:0.9", 3.0, tuple(options.split()), pytorch=True)
    monkeypatch.setattr(quality, "RECIPES", (recipe,))
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 50, encoding="utf-8")
    quality.main(["--data", str(tmp_path), "--out", str(tmp_path / "results"), *side])
    kept = (tmp_path / "results" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert kept[1].startswith("$ python -m ")
    assert "nats per character" in kept[-1]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured on Linux")
def test_an_update_never_holds_all_logits(bench):
    sizes = {"vocabulary": 20_000, "hidden": 16, "batch": 64, "length": 32}
    options = [text for name, size in sizes.items() for text in (f"--{name}", str(size))]
    (row,) = bench("memory", "--only", "fastseq", *options)["rows"]
    assert row["above_mib"] < row["logits_mib"] / 2


def test_sides_take_turns_in_alternating_order():
    order = []
    sides = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = interleave(sides, rounds=3, seconds=0)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"  # the first pair is the warm-up
    assert [timing.calls for timing in timings.values()] == [3, 3]


def test_ratio_range_is_of_single_rounds():
    assert ratio_range(Timing([4.0, 9.0]), Timing([2.0, 3.0])) == (2.0, 3.0)


def test_unknown_row_names_the_known_ones():
    with pytest.raises(SystemExit, match="expected part of one of ab, cd"):
        command.chosen(["ab", "cd"], "e")
