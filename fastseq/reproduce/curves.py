"""Loss curves of the experiments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import plots
from .experiments import Result


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
