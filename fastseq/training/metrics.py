"""Lines of metrics of a training run."""

from __future__ import annotations

from typing import Any

from ..lm.evaluation import in_usual_unit
from ..text import Corpus
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


def training_figures(progress: Progress, windows: int, corpus: Corpus) -> Record:
    """Position and training loss, the mean since the previous line.

    Parameters
    ----------
    progress : Progress
    windows : int
        Windows of an epoch.
    corpus : Corpus
    """
    loss = progress.loss_sum / progress.loss_tokens if progress.loss_tokens else None
    return {
        "step": progress.step,
        "epoch": progress.epoch + progress.window / windows,
        "tokens": progress.tokens,
        "train_loss": loss,
        **({} if loss is None else _in_usual_unit(corpus, "train", loss)),
    }


def validation_figures(loss: float, corpus: Corpus) -> Record:
    """Validation loss, in nats per token and in the usual unit."""
    return {"valid_loss": loss} | _in_usual_unit(corpus, "valid", loss)


def _in_usual_unit(corpus: Corpus, split: str, loss: float) -> dict[str, float]:
    return in_usual_unit(corpus.vocabulary, split, loss, corpus.unknown_token_rate(split))


def summary(record: Record) -> str:
    """Format a line of metrics for people."""
    parts = [f"step {record['step']:,}", f"epoch {record['epoch']:.2f}"]
    for key, label in _LABELS.items():
        if record.get(key) is not None:
            value = record[key]
            whole = value >= 1000 or key == "tokens_per_second"
            parts.append(f"{label} {value:,.0f}" if whole else f"{label} {value:.3f}")
    return "  ".join(parts)
