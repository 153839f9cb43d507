"""Loss curves. The only module that imports matplotlib, which it does on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b2430", "#66707d", "#e3e6ea"
BLUE, ORANGE = "#1f6fb2", "#d9661f"
SIZE = 6.4, 3.6  # inches
DPI = 110
SMOOTHING = 10  # updates
MOST_MEANS = 200  # of the curve of a training run

STYLE: dict[Any, Any] = {  # matplotlib types each key separately
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
    "svg.hashsalt": "fastseq",  # makes files reproducible
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


class PlotError(RuntimeError):
    """matplotlib is not installed."""


def require() -> None:
    """Check that drawing is possible, before any work whose result is drawn.

    Raises
    ------
    PlotError
        matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise PlotError(f"plots need matplotlib: pip install 'fastseq[plot]' ({error})") from None


@dataclass(frozen=True)
class Curve:
    """One loss curve.

    Attributes
    ----------
    title : str
        May be empty.
    losses : sequence of float
        Loss of every update, from the first.
    baseline : float
        Loss that is drawn as a horizontal line.
    baseline_label : str
    published : mapping of int to float
        Published losses by update, drawn as points; may be empty.
    """

    title: str
    losses: Sequence[float]
    baseline: float
    baseline_label: str
    published: Mapping[int, float]


def loss_curves(
    curves: Sequence[Curve], kind: str = "png", size: tuple[float, float] = SIZE
) -> bytes:
    """Draw loss curves in two columns.

    Parameters
    ----------
    curves : sequence of Curve
    kind : {"png", "svg"}
    size : tuple of float
        Width and height of each, in inches.

    Returns
    -------
    bytes
        Contents of an image file.
    """
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    with _figure((columns * size[0], rows * size[1])) as figure:
        for place, curve in enumerate(curves, start=1):
            _draw_losses(figure.add_subplot(rows, columns, place), curve)
        return _contents(figure, kind)


def _draw_losses(axes: Axes, curve: Curve) -> None:
    if curve.title:
        axes.set_title(curve.title)
    axes.set_xlabel("update")
    axes.set_ylabel("loss, nats per window")
    _draw_baseline(axes, curve)
    updates = np.arange(1, len(curve.losses) + 1)
    axes.plot(updates, curve.losses, color=BLUE, linewidth=0.9, alpha=0.45, label="each update")
    axes.plot(
        updates, smoothed(curve.losses, SMOOTHING), color=BLUE, linewidth=2,
        label=f"mean of {SMOOTHING}",
    )  # fmt: skip
    _draw_published(axes, curve)
    axes.set_xlim(0, len(curve.losses) + 1)
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.99), ncols=3, fontsize=9)


def smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """Moving average over each value and up to `window` − 1 values before it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _draw_baseline(axes: Axes, curve: Curve) -> None:
    axes.axhline(curve.baseline, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        curve.baseline_label, (1, curve.baseline), xycoords=("axes fraction", "data"),
        xytext=(0, -4), textcoords="offset points", ha="right", va="top", color=MUTED, fontsize=9,
    )  # fmt: skip


def _draw_published(axes: Axes, curve: Curve) -> None:
    last = len(curve.losses)
    points = {update: loss for update, loss in curve.published.items() if update <= last}
    if points:
        axes.plot(
            list(points), list(points.values()), "o", color=ORANGE, markersize=6,
            markeredgecolor="white", label="published",
        )  # fmt: skip


def training_curve(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw training and validation loss of a training run.

    The training loss is drawn as means over equal numbers of steps (see `mean_losses`), each
    in the middle of its steps; validations are points.

    Parameters
    ----------
    records : sequence of mappings
        Lines of ``metrics.jsonl``: ``step`` and one or both of ``train_loss``, ``valid_loss``
        (nats per token).

    Returns
    -------
    bytes
        Contents of a PNG file.
    """
    with _figure(SIZE) as figure:
        axes: Axes = figure.add_subplot()
        axes.set_title("Loss")
        axes.set_xlabel("step")
        axes.set_ylabel("nats per token")
        _draw_training(axes, records)
        _draw_validations(axes, records)
        if axes.lines:
            axes.legend(loc="upper right")
        return _contents(figure, "png")


def _draw_training(axes: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    width, ends, losses = mean_losses(records)
    if not len(losses):
        return
    label = f"training, means of {width:,} steps" if width > 1 else "training, each step"
    marker = "o" if len(losses) < 2 else None  # one point makes no line
    axes.plot(
        ends - (width - 1) / 2, losses, color=BLUE, linewidth=1.6, label=label, marker=marker
    )


def _draw_validations(axes: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    points = [(r["step"], r["valid_loss"]) for r in records if r.get("valid_loss") is not None]
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    axes.plot(steps, losses, color=ORANGE, linewidth=0.6, alpha=0.5)
    label = f"validation, lowest {min(losses):.3f}"
    axes.plot(steps, losses, "o", color=ORANGE, markersize=4, markeredgewidth=0, label=label)


def mean_losses(records: Sequence[Mapping[str, Any]]) -> tuple[int, np.ndarray, np.ndarray]:
    """Mean training losses over equal numbers of steps.

    The lines of a run do not average equally many steps: each covers those since the line
    before, and validations add lines in between. The lines' sums are therefore added up first.
    A mean is exact where its steps begin and end with a line, as they do at multiples of
    ``log_every``; elsewhere a line's loss is taken for each of its steps.

    Parameters
    ----------
    records : sequence of mappings
        Lines of ``metrics.jsonl``, in the order of their steps.

    Returns
    -------
    width : int
        Steps of a mean: the longest distance of two lines, or a multiple of it where there
        would be more than 200 means.
    ends, losses : ndarray of shape (n,)
        Last steps of the means (`width`, twice `width`, …, and the last step of the run, whose
        mean shares steps with the one before), and the means.
    """
    known = [(r["step"], r["train_loss"]) for r in records if r.get("train_loss") is not None]
    steps = np.array([0, *(step for step, _ in known)])
    counts = np.diff(steps)
    if not counts.sum():
        return 1, np.empty(0, np.int64), np.empty(0)
    sums = np.cumsum([0.0, *(counts * [loss for _, loss in known])])
    last, width = int(steps[-1]), int(counts.max())
    width = min(last, width * -(-last // (width * MOST_MEANS)))
    ends = np.append(np.arange(width, last, width), last)
    means = (np.interp(ends, steps, sums) - np.interp(ends - width, steps, sums)) / width
    return width, ends, means


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[Figure]:
    require()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=size, layout="constrained")


def _contents(figure: Figure, kind: str) -> bytes:
    file = BytesIO()
    # Without a date and the version of matplotlib the same curve gives the same bytes.
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(file, format=kind, dpi=DPI, metadata=metadata)
    return file.getvalue()
