"""The numerical kernels: one specification (`oracle`) and its compiled builds.

A build is compiled once for each number type, so that the kernels of a module compute in one. All
modules share the threads of `_team`.
Nothing here knows of models, files or text, and nothing here imports the rest of fastseq.
"""

import importlib
from contextlib import suppress
from typing import Any

COMPILED = ("avx512", "avx2", "neon", "generic")  # best first
NAMES = (*COMPILED, "oracle")
DTYPES = ("float32", "float64")


def supported(name: str) -> bool:
    """Whether this CPU and operating system can run the named build.

    Raises
    ------
    ImportError
        Nothing is compiled, so that the CPU cannot be asked.
    """
    if name in ("oracle", "generic"):
        return True
    try:
        cpu = importlib.import_module("fastseq._kernels._cpu")
    except ImportError as error:
        raise ImportError(f"kernels {name!r}: not compiled") from error
    return name in cpu.features()


def load(name: str, dtype: str = "float32") -> Any:
    """Import one build's kernels for arrays of one dtype.

    Raises
    ------
    ImportError
        The build is not compiled, or this CPU cannot run it. The CPU is asked first: merely
        importing a build that it cannot run could stop the process.
    """
    if not supported(name):
        raise ImportError(f"kernels {name!r}: this CPU does not support them")
    module = name if name == "oracle" else f"{name}_{dtype}"
    return importlib.import_module(f"fastseq._kernels.{module}")


def set_num_threads(count: int) -> None:
    """Let compiled kernels use at most `count` threads."""
    with suppress(ImportError):  # where nothing is compiled, the oracle uses one
        importlib.import_module("fastseq._kernels._team").set_num_threads(count)
