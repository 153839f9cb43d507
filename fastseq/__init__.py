"""Recurrent sequence models, trained and run on a CPU as fast as it allows."""

from ._version import __version__

TYPE_CHECKING = False  # true to type checkers; typing itself would take long to import

if TYPE_CHECKING:
    from . import nn, optim
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

# Names are imported when they are first used, so that the command line can answer Ctrl-C, and
# complain of a wrong environment, before anything that takes long.
_SUBMODULES = ("backend", "lm", "nn", "optim", "serialization", "text")
_HOMES = ("backend", "lm", "nn.module", "serialization", "text")  # of the other names

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _SUBMODULES:
            return import_module(f"{__name__}.{name}")
        if name in __all__:
            for home in (import_module(f"{__name__}.{home}") for home in _HOMES):
                if hasattr(home, name):
                    return globals().setdefault(name, getattr(home, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
