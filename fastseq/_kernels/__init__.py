"""The numerical kernels: one specification (`oracle`) and its compiled builds.

Nothing here knows of models, files or text, and nothing here imports the rest of fastseq.
"""

import importlib
from types import SimpleNamespace
from typing import Any

COMPILED = ("avx512", "avx2", "generic")  # best first
NAMES = (*COMPILED, "oracle")

# NumPy's dtype name -> the C type that indexes a fused Cython function.
C_TYPES = {"float32": "float", "float64": "double"}


def supported(name: str) -> bool:
    """Whether this CPU and operating system can run the named build."""
    if name in ("oracle", "generic"):
        return True
    try:
        cpu = importlib.import_module("fastseq._kernels._cpu")
    except ImportError:
        return False
    return name in cpu.features()


def load(name: str) -> Any:
    """Import one build.

    Raises
    ------
    ImportError
        The build was not compiled, or this CPU cannot run it. The CPU is asked first: merely
        importing a build that it cannot run could stop the process.
    """
    if not supported(name):
        raise ImportError(f"kernels {name!r}: this CPU does not support them")
    return importlib.import_module(f"fastseq._kernels.{name}")


def specialise(module: Any, dtype_name: str) -> SimpleNamespace:
    """The kernels of one build for one dtype, without the cost of choosing at every call."""
    c_type = C_TYPES[dtype_name]
    functions = {name: getattr(module, name) for name in module.__all__}
    return SimpleNamespace(
        **{
            name: function[c_type] if hasattr(function, "__signatures__") else function
            for name, function in functions.items()
        }
    )
