"""The side of fastseq: whole updates of a language model, as in a training loop."""

from collections.abc import Callable, Mapping
from itertools import cycle

import numpy as np

from benchmarks.workloads import TrainingWorkload
from fastseq import LanguageModel, optim
from fastseq.nn.utils import clip_coefficient
from fastseq.text import Vocabulary

OPTIMIZERS = {"adam": optim.Adam, "adagrad": optim.Adagrad}
WINDOWS = 8  # distinct windows, used repeatedly

Window = tuple[np.ndarray, np.ndarray]


def windows(case: TrainingWorkload, count: int = WINDOWS) -> list[Window]:
    """Uniformly random inputs and targets of shape (T, B)."""
    rng = np.random.default_rng(7)
    stream = rng.integers(case.vocabulary, size=(count * case.T + 1, case.B))
    starts = range(0, count * case.T, case.T)
    return [(stream[s : s + case.T], stream[s + 1 : s + 1 + case.T]) for s in starts]


def language_model(case: TrainingWorkload) -> LanguageModel:
    cell = case.cell.removesuffix("_tanh")
    return LanguageModel(
        Vocabulary.codes(case.vocabulary), cell, case.H, case.layers, case.embedding
    )


def fastseq_update(
    case: TrainingWorkload, weights: Mapping[str, np.ndarray] | None = None
) -> Callable[[], float]:
    """Build a call that trains on the next window and returns its mean loss before the update.

    Parameters
    ----------
    case : TrainingWorkload
    weights : mapping of str to ndarray, optional
        Initial weights.
    """
    lm = language_model(case)
    if weights is not None:
        lm.load_state_dict(weights)
    optimizer = OPTIMIZERS[case.optimizer](lm.parameters(), lr=case.lr)
    feed, state = cycle(windows(case)), None

    def update() -> float:
        nonlocal state
        inputs, targets = next(feed)
        loss, state = lm.forward_backward(inputs, targets, state)
        if case.clip == "value":
            optimizer.step(limit=case.limit)
        else:
            optimizer.step(clip_coefficient(optimizer.grad_norm(), case.limit))
        return loss / inputs.size

    return update
