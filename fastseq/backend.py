"""Which kernels run, and with how many threads."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from . import _kernels
from ._version import __version__

__all__ = [
    "available_backends",
    "cpu_name",
    "get_backend",
    "get_num_threads",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]

_SOURCE = os.path.dirname(os.path.abspath(__file__))
# More than any machine has; what is beyond is a slip, and no number for a kernel.
MAX_THREADS = 4096


def _check_name(name: str, argument: str = "backend") -> str:
    """The name of a build that this machine can run, the best for ``"auto"``."""
    if name == "auto":
        best = next(_available())
        if best == "oracle":
            warnings.warn(
                "fastseq: no compiled kernels here; the plain-Python ones are thousands of times "
                "slower. To compile them, install GCC or Clang, then: pip install --no-cache-dir "
                "--force-reinstall fastseq-rnn. FASTSEQ_BACKEND=oracle asks for plain Python. "
                f"Imported from {_SOURCE}",
                RuntimeWarning,
                stacklevel=2,
            )
        return best
    if name not in _kernels.NAMES:
        expected = ", ".join(("auto", *_kernels.NAMES))
        raise ValueError(f"{argument}: expected one of {expected}, got {name!r}")
    _kernels.load(name)
    return name


def _available() -> Iterator[str]:
    for name in _kernels.NAMES:
        with suppress(ImportError):
            _kernels.load(name)
            yield name


def _initial_threads() -> int:
    """OMP_NUM_THREADS where it makes sense, else the processors this process may use."""
    with suppress(ValueError):
        asked = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
        if 1 <= asked <= MAX_THREADS:
            return asked
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_active = _check_name(os.environ.get("FASTSEQ_BACKEND") or "auto", "FASTSEQ_BACKEND")
_threads = _initial_threads()
_kernels.set_num_threads(_threads)


_modules: dict[tuple[str, np.dtype | type | str], Any] = {}  # those in use so far


def kernels(dtype: np.dtype | type | str) -> Any:
    """The active build's kernels for arrays of `dtype` (float32 or float64)."""
    key = _active, dtype  # NumPy takes a microsecond for the name of a dtype
    if key not in _modules:
        _modules[key] = _kernels.load(_active, np.dtype(dtype).name)
    return _modules[key]


def get_backend() -> str:
    """Return the name of the kernels in use.

    Returns
    -------
    str
        ``avx512``, ``avx2``, ``neon``, ``generic`` or ``oracle``.

    Examples
    --------
    >>> import fastseq
    >>> with fastseq.use_backend("oracle"):
    ...     fastseq.get_backend()
    'oracle'
    """
    return _active


def set_backend(name: str) -> None:
    """Choose the kernels by name, for the whole process.

    At import the environment variable ``FASTSEQ_BACKEND`` chooses them, ``auto`` without it.

    Parameters
    ----------
    name : str
        ``avx512``, ``avx2``, ``neon``, ``generic`` (compiled for any processor), ``oracle`` (plain
        Python, thousands of times slower), or ``auto`` for the best that this machine can run.

    Raises
    ------
    ValueError
        Unknown name; the old kernels stay.
    ImportError
        A build that is not compiled or that this processor cannot run; the old kernels stay.

    Examples
    --------
    >>> import fastseq
    >>> before = fastseq.get_backend()
    >>> fastseq.set_backend("oracle")
    >>> fastseq.get_backend()
    'oracle'
    >>> fastseq.set_backend(before)
    """
    global _active
    _active = _check_name(name)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run a block with the named kernels, then return to those before.

    Parameters
    ----------
    name : str
        See `set_backend`.

    Raises
    ------
    ValueError, ImportError
        See `set_backend`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastseq
    >>> from fastseq import nn
    >>> gru = nn.GRU(3, 4, seed=0)
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> with fastseq.use_backend("oracle"):
    ...     reference, _ = gru(x)
    >>> bool(np.allclose(gru(x)[0], reference, atol=1e-6))
    True
    """
    before = get_backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


@contextmanager
def one_thread(name: str) -> Iterator[None]:
    """Run the block on one thread with the named kernels."""
    before = get_num_threads()
    with use_backend(name):
        set_num_threads(1)
        try:
            yield
        finally:
            set_num_threads(before)


def set_num_threads(count: int) -> None:
    """Set the number of threads that kernels may use; small work runs on one whatever is set.

    Results are the same bits for any number.

    Parameters
    ----------
    count : int
        From 1 to 4096. At import it is ``OMP_NUM_THREADS``, or the number of processors that the
        process may use.

    Raises
    ------
    TypeError
        Not an integer.
    ValueError
        Out of range.

    Examples
    --------
    >>> import fastseq
    >>> before = fastseq.get_num_threads()
    >>> fastseq.set_num_threads(1)
    >>> fastseq.get_num_threads()
    1
    >>> fastseq.set_num_threads(before)
    """
    global _threads
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"count: expected an integer, got {type(count).__name__}")
    check_threads("count", count)
    _threads = int(count)
    _kernels.set_num_threads(_threads)


def check_threads(name: str, count: int) -> None:
    """Refuse a number of threads that no machine has."""
    if not 1 <= count <= MAX_THREADS:
        raise ValueError(f"{name}: expected 1 to {MAX_THREADS}, got {count}")


def get_num_threads() -> int:
    """Return the number of threads that kernels may use.

    Returns
    -------
    int
        1 for the plain-Python kernels, which know no threads.

    Examples
    --------
    >>> import fastseq
    >>> fastseq.get_num_threads() >= 1
    True
    """
    return 1 if _active == "oracle" else _threads


def available_backends() -> list[str]:
    """List the kernels that this machine can run.

    Returns
    -------
    list of str
        Names, the best first.

    Examples
    --------
    >>> from fastseq import backend
    >>> backend.available_backends()[-1]
    'oracle'
    """
    return list(_available())


if sys.platform == "win32":

    def _processor() -> str:
        import winreg

        place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
elif sys.platform == "darwin":

    def _processor() -> str:
        import subprocess

        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
else:

    def _processor() -> str:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":")[1].strip() for line in lines if "model name" in line]
        return names[0] if names else ""  # arm64 has none


def cpu_name() -> str:
    """Return the processor's name, as the operating system gives it.

    Returns
    -------
    str

    Examples
    --------
    >>> from fastseq import backend
    >>> isinstance(backend.cpu_name(), str)
    True
    """
    name = ""
    with suppress(OSError):
        name = _processor()
    return name or platform.processor() or platform.machine()


def show_config() -> dict[str, Any]:
    """Describe what runs here.

    Returns
    -------
    dict
        Versions of ``fastseq``, ``python`` and ``numpy``; the processor (``cpu``); the kernels in
        use (``backend``) and those that this machine can run (``available``); ``threads``.

    Examples
    --------
    >>> import fastseq
    >>> list(fastseq.show_config())
    ['fastseq', 'python', 'numpy', 'cpu', 'backend', 'available', 'threads']
    """
    return {
        "fastseq": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu": cpu_name(),
        "backend": get_backend(),
        "available": available_backends(),
        "threads": get_num_threads(),
    }
