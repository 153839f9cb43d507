"""Lines of metrics of a training run."""

from __future__ import annotations

from typing import Any

from ..lm.evaluation import in_usual_unit
from ..text import Vocabulary
from .state import Progress

Record = dict[str, Any]

_LABELS = {"train_loss": "loss", "valid_loss": "valid", "tokens_per_second": "tokens/s"}


class Throughput:
    """Measures tokens per second since a given time.

    Parameters
    ----------
    now : float
        Seconds.
    tokens : int
        Tokens trained on so far.
    """

    def __init__(self, now: float, tokens: int) -> None:
        self._start, self._tokens = now, tokens

    def exclude(self, seconds: float) -> None:
        """Leave out time in which nothing was trained."""
        self._start += seconds

    def rate(self, now: float, tokens: int) -> float | None:
        """Tokens per second; None if no time has passed."""
        elapsed = now - self._start
        return (tokens - self._tokens) / elapsed if elapsed > 0 else None


def training_figures(progress: Progress, windows: int, vocabulary: Vocabulary) -> Record:
    """Position and training loss, the mean since the previous line.

    Parameters
    ----------
    progress : Progress
    windows : int
        Windows of an epoch.
    vocabulary : Vocabulary
    """
    loss = progress.loss_sum / progress.loss_tokens if progress.loss_tokens else None
    return {
        "step": progress.step,
        "epoch": progress.epoch + progress.window / windows,
        "tokens": progress.tokens,
        "train_loss": loss,
        **({} if loss is None else in_usual_unit(vocabulary, "train", loss)),
    }


def validation_figures(loss: float, vocabulary: Vocabulary) -> Record:
    """Validation loss, in nats per token and in the usual unit."""
    return {"valid_loss": loss} | in_usual_unit(vocabulary, "valid", loss)


def summary(record: Record) -> str:
    """Format a line of metrics for people."""
    parts = [f"step {record['step']:,}", f"epoch {record['epoch']:.2f}"]
    for key, label in _LABELS.items():
        if record.get(key) is not None:
            value = record[key]
            whole = value >= 1000 or key == "tokens_per_second"
            parts.append(f"{label} {value:,.0f}" if whole else f"{label} {value:.3f}")
    return "  ".join(parts)
