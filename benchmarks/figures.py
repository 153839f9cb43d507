"""Pictures of results, in the style of `fastseq.plots`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from fastseq.plots import BLUE, DPI, INK, MUTED, ORANGE, STYLE

__all__ = ["BLUE", "COLORS", "INK", "MUTED", "ORANGE", "picture"]

COLORS = (BLUE, ORANGE, "#2e8b57", "#8e4fa8")


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Open a figure of this size in inches; it is written as a PNG afterwards."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
