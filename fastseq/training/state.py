"""The state of a training run between two steps, and its place in a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ..lm.checkpoint import TRAINING, Checkpoint, save_model
from ..lm.config import from_json
from ..lm.model import LanguageModel
from ..lm.network import State
from ..storage.tensorfile import CheckpointError
from .config import TrainingConfig

_OPTIMIZER, _STATE = f"{TRAINING}optimizer.", f"{TRAINING}state."


@dataclass
class Progress:
    """Position of a training run between two steps.

    Attributes
    ----------
    step, tokens : int
        Steps done, tokens trained on.
    epoch, window : int
        Epoch of the next window, counted from 0, and the window's index in it.
    seconds : float
        Time spent in `fit`.
    best_loss, best_step : float or None, int
        Lowest validation loss, in nats per token, and its step.
    validations_without_improvement : int
        Validations since then.
    validated : int
        The last step that was validated.
    rate_factor : float
        Product of all plateau factors applied to the learning rate.
    loss_sum, loss_tokens : float, int
        Training loss since the last line of metrics.
    gradient_norm : float
        Norm at the last step, before clipping.
    metrics_bytes : int
        Size of `metrics.jsonl`.
    finished : bool
        The budget is used up, or early stopping has ended the run.
    """

    step: int = 0
    tokens: int = 0
    epoch: int = 0
    window: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    validations_without_improvement: int = 0
    validated: int = 0
    rate_factor: float = 1.0
    loss_sum: float = 0.0
    loss_tokens: int = 0
    gradient_norm: float = 0.0
    metrics_bytes: int = 0
    finished: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        # The first checkpoints have the shorter name.
        return from_json(cls, text, {"failures": "validations_without_improvement"})


@dataclass(frozen=True)
class TrainingState:
    """Everything that a training run needs to continue exactly, except the model's weights.

    Attributes
    ----------
    config : TrainingConfig
    progress : Progress
    optimizer : dict
        The optimizer's `state_dict`.
    random : dict
        State of the model's random generator.
    state : State or None
        Hidden state at the start of the next window.
    corpus : str
        The corpus's fingerprint.
    """

    config: TrainingConfig
    progress: Progress
    optimizer: dict[str, Any]
    random: dict[str, Any]
    state: State | None
    corpus: str

    def save(self, lm: LanguageModel, path: Path, about: Mapping[str, str]) -> None:
        """Write model and training state to one file, with metadata `about` the texts."""
        tensors = {_OPTIMIZER + name: a for name, a in self.optimizer["state"].items()}
        if self.state is not None:
            named = self.state._asdict().items()
            tensors |= {_STATE + name: array for name, array in named if array is not None}
        metadata = {
            "training": self.config.to_json(),
            "progress": self.progress.to_json(),
            "optimizer": json.dumps(self.optimizer["param_groups"]),
            "random": json.dumps(self.random),
            "corpus": self.corpus,
            **about,
        }
        save_model(lm, lm.vocabulary, path, tensors, metadata)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Extract the training state of a checkpoint.

        Raises
        ------
        CheckpointError
            The checkpoint holds none, or one that is not valid.
        """
        metadata = checkpoint.metadata
        try:
            return cls(
                TrainingConfig.from_json(metadata["training"]),
                Progress.from_json(metadata["progress"]),
                {
                    "state": _with_prefix(checkpoint, _OPTIMIZER),
                    "param_groups": json.loads(metadata["optimizer"]),
                },
                json.loads(metadata["random"]),
                _hidden_state(checkpoint),
                metadata["corpus"],
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            message = f"{checkpoint.path}: no training run to resume: {error!r}"
            raise CheckpointError(message) from None


def _with_prefix(checkpoint: Checkpoint, prefix: str) -> dict[str, Any]:
    found = ((n, a) for n, a in checkpoint.tensors.items() if n.startswith(prefix))
    return {name.removeprefix(prefix): array for name, array in found}


def _hidden_state(checkpoint: Checkpoint) -> State | None:
    arrays = _with_prefix(checkpoint, _STATE)
    return State(arrays["h"], arrays.get("c")).copy() if arrays else None
