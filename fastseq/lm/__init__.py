"""Language models: the model, its training, sampling, and the files they are kept in."""

from .config import ModelConfig
from .evaluation import Evaluation
from .model import LanguageModel
from .network import State
from .novelty import CopiedRun, longest_copied_run
from .sampling import Samples, Sampling
from .tensorfile import CheckpointError

__all__ = [
    "CheckpointError",
    "CopiedRun",
    "Evaluation",
    "LanguageModel",
    "ModelConfig",
    "Samples",
    "Sampling",
    "State",
    "longest_copied_run",
]
