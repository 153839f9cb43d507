"""Recurrent sequence models, trained and run on a CPU as fast as it allows."""

from ._version import __version__
from .backend import (
    get_backend,
    get_num_threads,
    set_backend,
    set_num_threads,
    show_config,
    use_backend,
)

__all__ = [
    "__version__",
    "get_backend",
    "get_num_threads",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]
