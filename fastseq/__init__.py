"""Recurrent sequence models, trained and run on a CPU as fast as it allows."""

from . import nn, optim
from ._version import __version__
from .backend import (
    get_backend,
    get_num_threads,
    set_backend,
    set_num_threads,
    show_config,
    use_backend,
)
from .lm import LanguageModel, Trainer, TrainingConfig
from .nn.module import no_grad
from .serialization import load_file, save_file
from .text import Corpus, Vocabulary

__all__ = [
    "Corpus",
    "LanguageModel",
    "Trainer",
    "TrainingConfig",
    "Vocabulary",
    "__version__",
    "get_backend",
    "get_num_threads",
    "load_file",
    "nn",
    "no_grad",
    "optim",
    "save_file",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]
