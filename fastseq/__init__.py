"""Recurrent sequence models, trained and run on a CPU as fast as it allows.

- ``nn``: layers and losses with the interface of ``torch.nn``, on NumPy arrays
- ``optim``: optimizers and learning-rate schedules with the interface of ``torch.optim``
- ``text``: vocabularies, corpora of any size, named data sets
- ``lm``: language models with sampling, evaluation and one verified file per model
- ``training``: the trainer of language models, its settings and callbacks

Examples
--------
>>> import fastseq
>>> corpus = fastseq.Corpus.from_text("hello world. " * 40, fastseq.Vocabulary.characters)
>>> lm = fastseq.LanguageModel(corpus.vocabulary, cell="gru", hidden_size=16)
>>> config = fastseq.TrainingConfig(steps=40, batch_size=4, seq_length=16, learning_rate=0.03)
>>> history = fastseq.Trainer(lm, corpus, config, console=False).fit()
>>> lm.sample("hello", length=20, temperature=0)
'hello world. hello world.'
"""

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
    from .lm import LanguageModel
    from .nn.generator import manual_seed
    from .nn.module import no_grad
    from .storage.serialization import load_file, save_file
    from .text import Corpus, Vocabulary
    from .training import Trainer, TrainingConfig

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
    "manual_seed",
    "nn",
    "no_grad",
    "optim",
    "save_file",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]

# Names are imported on first use, so that the command line can handle Ctrl-C and report a
# wrong environment before any slow import.
_MODULES = {
    "backend": "backend",
    "lm": "lm",
    "nn": "nn",
    "optim": "optim",
    "serialization": "storage.serialization",
    "text": "text",
    "training": "training",
}
_HOMES = (
    "backend",
    "lm",
    "nn.generator",
    "nn.module",
    "storage.serialization",
    "text",
    "training",
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"{__name__}.{_MODULES[name]}")
        if name in __all__:
            for home in (import_module(f"{__name__}.{home}") for home in _HOMES):
                if hasattr(home, name):
                    return globals().setdefault(name, getattr(home, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
