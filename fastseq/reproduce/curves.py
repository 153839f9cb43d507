"""Loss curves of the experiments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .. import plots
from .experiments import Result

CARD_SIZE = 5.0, 3.1  # inches; smaller, so that text is larger where the picture is scaled down
# Colours on a dark page, by those of `plots`.
DARK = {
    "#ffffff": "#1a2129",
    plots.INK: "#e4e9ef",
    plots.MUTED: "#a3aebb",
    plots.GRID: "#333d48",
    plots.BLUE: "#6cb2ee",
    plots.ORANGE: "#f0914f",
}


def experiment_curves(results: Sequence[Result], kind: str = "png") -> bytes:
    """Draw the loss of each experiment by update.

    Parameters
    ----------
    results : sequence of Result
    kind : {"png", "svg"}

    Returns
    -------
    bytes
        Contents of an image file.
    """
    return plots.loss_curves([_curve(result) for result in results], kind)


def card_curve(result: Result, dark: bool = False) -> bytes:
    """Draw one experiment without a title, readable on a phone.

    Parameters
    ----------
    result : Result
    dark : bool
        In light colours on a dark background.

    Returns
    -------
    bytes
        An SVG file.
    """
    picture = plots.loss_curves([replace(_curve(result), title="")], "svg", CARD_SIZE)
    for light, other in DARK.items() if dark else ():
        picture = picture.replace(light.encode(), other.encode())
    return picture


def _curve(result: Result) -> plots.Curve:
    task = result.task
    size = len(task.vocabulary)
    return plots.Curve(
        title=f"{task.experiment.level.capitalize()} {task.experiment.cell.upper()}",
        losses=result.losses,
        baseline=task.batches.seq_length * math.log(size),
        baseline_label=f"guessing among {size:,} tokens",
        published=task.published_losses,
    )
