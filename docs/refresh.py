"""Redraw losses.png and rewrite the table in README with the results of this machine.

    python docs/refresh.py

It takes a minute or two, most of it in plain Python. The machine should be otherwise idle.
"""

import tempfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from PIL import Image

from fastseq import backend
from fastseq.reproduce.benchmark import ExperimentTiming, bench
from fastseq.reproduce.curves import experiment_curves
from fastseq.reproduce.experiments import Result, Settings
from fastseq.reproduce.run import reproduce

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- written by docs/refresh.py -->", "<!-- end -->"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = reproduce("python-manual", out=folder)
    timings = {timing.experiment: timing for timing in bench()}
    # 64 colours suffice for lines and take a third of the space.
    picture = Image.open(BytesIO(experiment_curves(results))).convert("RGB")
    picture.quantize(64).save(ROOT / "docs/losses.png", optimize=True)
    readme = ROOT / "README.md"
    readme.write_text(replaced(readme.read_text("utf-8"), table(results, timings)), "utf-8")


def table(results: Iterable[Result], timings: dict[str, ExperimentTiming]) -> str:
    """Format seconds of each experiment, published and here, and the ratio to the oracle."""
    lines = [
        "| experiment | published, s | fastseq, s | ratio | ratio to the oracle |",
        "|---|---:|---:|---:|---:|",
    ]
    for result in results:
        experiment, ratio = result.task.experiment, result.ratio(Settings())
        lines.append(
            f"| {experiment.name} | {experiment.published_seconds:,.1f} | {result.seconds:.3f} "
            f"| {ratio:,.0f}× | {timings[experiment.name].ratio:,.0f}× |"
        )
    config = backend.show_config()
    lines += ["", f"{config['cpu']}, kernels {config['backend']}, one thread."]
    return "\n".join(lines)


def replaced(text: str, content: str) -> str:
    """Replace the text between the two marks by `content`."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


if __name__ == "__main__":
    main()
