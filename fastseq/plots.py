"""Loss curves (the only module that imports matplotlib, and only once something is drawn)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from .experiments import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b2430", "#66707d", "#e3e6ea"
BLUE, ORANGE = "#1f6fb2", "#d9661f"
SIZE = 6.4, 3.6  # inches
DPI = 110
SMOOTHING = 10  # updates

STYLE: dict[Any, Any] = {  # as matplotlib types it, key by key
    "figure.facecolor": "white",
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titlepad": 10,
    "axes.titleweight": "bold",
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "fastseq",  # the same picture gives the same file
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


class PlotError(RuntimeError):
    """Nothing can be drawn here."""


def require() -> None:
    """Check that drawing is possible, before work is done that ends in a picture.

    Raises
    ------
    PlotError
        matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise PlotError(f"plots need matplotlib: pip install 'fastseq[plot]' ({error})") from None


def experiment_curves(results: Sequence[Result], kind: str = "png") -> bytes:
    """Loss by update of each experiment, two beside each other, as an image file's contents.

    Parameters
    ----------
    results : sequence of Result
    kind : {"png", "svg"}
    """
    columns = min(2, len(results))
    rows = -(-len(results) // columns)
    with _figure((columns * SIZE[0], rows * SIZE[1])) as figure:
        for place, result in enumerate(results, start=1):
            _draw_losses(figure.add_subplot(rows, columns, place), result)
        return _contents(figure, kind)


def _draw_losses(axes: Axes, result: Result) -> None:
    experiment, losses = result.task.experiment, result.losses
    axes.set_title(f"{experiment.level.capitalize()} {experiment.cell.upper()}")
    axes.set_xlabel("update")
    axes.set_ylabel("loss, nats per window")
    _draw_guess(axes, result)
    updates = np.arange(1, len(losses) + 1)
    axes.plot(updates, losses, color=BLUE, linewidth=0.9, alpha=0.45, label="each update")
    axes.plot(
        updates, smoothed(losses, SMOOTHING), color=BLUE, linewidth=2,
        label=f"mean of {SMOOTHING}",
    )  # fmt: skip
    _draw_published(axes, result.task.shown_losses, len(losses))
    axes.set_xlim(0, len(losses) + 1)
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.99), ncols=3, fontsize=9)


def smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """Mean of each value and those before it, at most `window` in all."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _draw_guess(axes: Axes, result: Result) -> None:
    """The loss of guessing every token alike: where training starts."""
    batches, size = result.task.batches, len(result.task.vocabulary)
    guess = batches.seq_length * math.log(size)
    axes.axhline(guess, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"guessing among {size:,} tokens", (1, guess), xycoords=("axes fraction", "data"),
        xytext=(0, -4), textcoords="offset points", ha="right", va="top", color=MUTED, fontsize=9,
    )  # fmt: skip


def _draw_published(axes: Axes, losses: Mapping[int, float], last: int) -> None:
    points = {update: loss for update, loss in losses.items() if update <= last}
    if points:
        axes.plot(
            list(points), list(points.values()), "o", color=ORANGE, markersize=6,
            markeredgecolor="white", label="published",
        )  # fmt: skip


def training_curve(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Training and validation loss of a run, as a PNG file's contents.

    Parameters
    ----------
    records : sequence of mappings
        Lines of ``metrics.jsonl``: ``step`` and one or both of ``train_loss``, ``valid_loss``
        (nats per token).
    """
    with _figure(SIZE) as figure:
        axes: Axes = figure.add_subplot()
        axes.set_title("Loss")
        axes.set_xlabel("step")
        axes.set_ylabel("nats per token")
        for key, label, color in (
            ("train_loss", "training", BLUE),
            ("valid_loss", "validation", ORANGE),
        ):
            points = [(r["step"], r[key]) for r in records if r.get(key) is not None]
            if points:
                steps, losses = zip(*points, strict=True)
                marker = "o" if len(points) < 2 else None  # one point makes no line
                axes.plot(steps, losses, color=color, linewidth=1.6, label=label, marker=marker)
        if axes.lines:
            axes.legend(loc="upper right")
        return _contents(figure, "png")


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[Figure]:
    require()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=size, layout="constrained")


def _contents(figure: Figure, kind: str) -> bytes:
    file = BytesIO()
    # Without a date (or the library's version) the same curve gives the same bytes.
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(file, format=kind, dpi=DPI, metadata=metadata)
    return file.getvalue()
