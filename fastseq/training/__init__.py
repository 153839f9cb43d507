"""Training of language models: the trainer, its configuration, callbacks and checkpoints."""

from .callbacks import Callback, Console, TensorBoard, TrainingRun
from .config import TrainingConfig
from .run_directory import RunInUseError
from .state import Progress
from .trainer import Trainer, TrainingDivergedError

__all__ = [
    "Callback",
    "Console",
    "Progress",
    "RunInUseError",
    "TensorBoard",
    "Trainer",
    "TrainingConfig",
    "TrainingDivergedError",
    "TrainingRun",
]
