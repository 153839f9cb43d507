"""Language models: the model, sampling, evaluation, and checkpoints."""

from ..storage.tensorfile import CheckpointError
from .beam import Beam
from .checkpoint import Checkpoint, open_checkpoint
from .config import ModelConfig
from .evaluation import Evaluation
from .model import LanguageModel
from .network import State
from .novelty import CopiedRun, longest_copied_run
from .sampling import Samples, Sampling

__all__ = [
    "Beam",
    "Checkpoint",
    "CheckpointError",
    "CopiedRun",
    "Evaluation",
    "LanguageModel",
    "ModelConfig",
    "Samples",
    "Sampling",
    "State",
    "longest_copied_run",
    "open_checkpoint",
]
