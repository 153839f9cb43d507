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

    Parameters
    ----------
    step : int
        Steps done.
    tokens : int
        Tokens trained on.
    epoch : int
        Epoch of the next window, counted from 0.
    window : int
        Index of the next window in its epoch.
    seconds : float
        Time spent in `fit`.
    best_loss : float or None
        Lowest validation loss, in nats per token.
    best_step : int
        Its step.
    validations_without_improvement : int
        Validations since then.
    validated : int
        The last step that was validated.
    rate_factor : float
        Product of all plateau factors applied to the learning rate.
    loss_sum : float
        Training loss since the last line of metrics, in nats.
    loss_tokens : int
        Tokens of that sum.
    gradient_norm : float
        Norm at the last step, before clipping.
    metrics_bytes : int
        Size of `metrics.jsonl`.
    finished : bool
        The budget is used up, or early stopping has ended the run.

    Examples
    --------
    >>> import fastseq
    >>> corpus = fastseq.Corpus.from_text("hello world. " * 40, fastseq.Vocabulary.characters)
    >>> lm = fastseq.LanguageModel(corpus.vocabulary, cell="gru", hidden_size=8)
    >>> config = fastseq.TrainingConfig(steps=3, batch_size=2, seq_length=8)
    >>> trainer = fastseq.Trainer(lm, corpus, config, console=False)
    >>> _ = trainer.fit()
    >>> trainer.progress.step, trainer.progress.tokens, trainer.progress.finished
    (3, 48, True)
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
        """Write all fields as a JSON object.

        Returns
        -------
        str
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote, also in an earlier version.

        Parameters
        ----------
        text : str
            A JSON object; fields that are missing get their defaults.

        Returns
        -------
        Progress

        Raises
        ------
        TypeError, ValueError
            Not a JSON object, or unknown fields.
        """
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
