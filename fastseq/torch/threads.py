"""One pool of threads for PyTorch and the kernels: that of PyTorch's OpenMP runtime."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
from contextlib import suppress

import torch

RUNTIME = re.compile(r"lib(gomp|omp|iomp5)[-.].*so")


def share_pool() -> bool:
    """Let kernels run on the threads of PyTorch's OpenMP runtime, if there is one; whether so.

    Threads of both would wait awake for their next work, and take the processors from each other.
    """
    runtimes = _loaded_runtimes()
    if len(runtimes) != 1:
        return False
    try:
        library = ctypes.CDLL(runtimes[0])
        functions = library.GOMP_parallel, library.omp_get_num_threads
        team = importlib.import_module("fastseq._kernels._team")
    except (AttributeError, ImportError, OSError):
        return False
    team.use_openmp(*(ctypes.cast(f, ctypes.c_void_p).value for f in functions))
    return True


def _loaded_runtimes() -> list[str]:
    """Files of the OpenMP runtimes of this process: only PyTorch's own, if it has brought one."""
    paths: set[str] = set()
    with suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            path = line.split(maxsplit=5)[-1].strip()
            if RUNTIME.match(os.path.basename(path)):
                paths.add(path)
    home = os.path.dirname(os.path.realpath(torch.__file__))
    return [path for path in paths if path.startswith(home)] or sorted(paths)
