"""Language models: the model, its training, sampling, and the files they are kept in."""

from .callbacks import Callback, Console, TensorBoard
from .config import ModelConfig
from .evaluation import Evaluation
from .model import LanguageModel
from .network import State
from .novelty import CopiedRun, longest_copied_run
from .run import RunInUseError
from .sampling import Samples, Sampling
from .tensorfile import CheckpointError
from .trainer import Trainer, TrainingDivergedError
from .training import Progress, TrainingConfig

__all__ = [
    "Callback",
    "CheckpointError",
    "Console",
    "CopiedRun",
    "Evaluation",
    "LanguageModel",
    "ModelConfig",
    "Progress",
    "RunInUseError",
    "Samples",
    "Sampling",
    "State",
    "TensorBoard",
    "Trainer",
    "TrainingConfig",
    "TrainingDivergedError",
    "longest_copied_run",
]
