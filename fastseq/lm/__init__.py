"""Language models: the model, its training, sampling, and the files they are kept in."""

from .config import ModelConfig
from .model import LanguageModel
from .network import State

__all__ = ["LanguageModel", "ModelConfig", "State"]
