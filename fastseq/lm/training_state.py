"""All that a training needs to go on exactly, in a checkpoint beside the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .checkpoint import TRAINING, save_model
from .model import LanguageModel
from .network import State
from .tensorfile import CheckpointError, TensorFile
from .training import Progress, TrainingConfig

_OPTIMIZER, _STATE = f"{TRAINING}optimizer.", f"{TRAINING}state."


@dataclass(frozen=True)
class TrainingState:
    """A training between two steps, without the model's weights.

    Attributes
    ----------
    config : TrainingConfig
    progress : Progress
    optimizer : dict
        As its `state_dict`.
    random : dict
        State of the model's random generator.
    state : State or None
        The hidden state that the next window starts from.
    corpus : str
        The corpus's fingerprint.
    """

    config: TrainingConfig
    progress: Progress
    optimizer: dict[str, Any]
    random: dict[str, Any]
    state: State | None
    corpus: str

    def save(self, lm: LanguageModel, path: Path) -> None:
        """Write model and training to one file."""
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
        }
        save_model(lm, path, tensors, metadata)

    @classmethod
    def read(cls, path: Path, file: TensorFile) -> Self:
        """The training of a checkpoint.

        Raises
        ------
        CheckpointError
            It holds none, or one that makes no sense.
        """
        metadata = file.metadata
        try:
            return cls(
                TrainingConfig.from_json(metadata["training"]),
                Progress.from_json(metadata["progress"]),
                {
                    "state": _with_prefix(file, _OPTIMIZER),
                    "param_groups": json.loads(metadata["optimizer"]),
                },
                json.loads(metadata["random"]),
                _hidden_state(file),
                metadata["corpus"],
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{path}: no training to resume: {error!r}") from None


def _with_prefix(file: TensorFile, prefix: str) -> dict[str, Any]:
    found = ((n, a) for n, a in file.tensors.items() if n.startswith(prefix))
    return {name.removeprefix(prefix): array for name, array in found}


def _hidden_state(file: TensorFile) -> State | None:
    arrays = _with_prefix(file, _STATE)
    return State(arrays["h"], arrays.get("c")).copy() if arrays else None
