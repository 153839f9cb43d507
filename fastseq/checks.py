"""Checks of arguments: one rule and one wording for each kind of value."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value counts as an integer: an int, but never a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_int(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Check for an integer from `least` to `most`.

    Raises
    ------
    TypeError, ValueError
        Not an integer; outside of the range.
    """
    if not is_integer(value):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name}: expected at most {most}, got {value}")


def check_real(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> None:
    """Check for a finite number from `least` to `most`.

    Raises
    ------
    TypeError, ValueError
        Not a number; infinite, NaN or outside of the range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not (math.isfinite(value) and least <= value <= most):
        span = "" if math.isinf(least) else f" of at least {least}"
        span += "" if math.isinf(most) else f" and at most {most}"
        raise ValueError(f"{name}: expected a finite number{span}, got {value}")


def check_positive(name: str, value: Any, most: float = math.inf) -> None:
    """Check for a finite number above zero and up to `most`.

    Raises
    ------
    TypeError, ValueError
        Not a number; infinite, NaN or outside of the range.
    """
    check_real(name, value)
    if value <= 0:
        raise ValueError(f"{name}: expected more than 0, got {value}")
    check_real(name, value, 0.0, most)


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Check that a value is one of `choices`; ValueError otherwise."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")


def check_type(name: str, value: Any, kind: type) -> None:
    """Check that a value is an instance of `kind`; TypeError otherwise."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected a {kind.__name__}, got {value!r}")


def check_mapping(name: str, value: Any, *keys: str) -> None:
    """Check for a mapping that has these keys; TypeError or ValueError otherwise."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {type(value).__name__}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise ValueError(f"{name}: expected {', '.join(keys)}, got no {', '.join(missing)}")


if sys.platform == "win32":
    import ctypes

    class _MemoryStatus(ctypes.Structure):
        """What `GlobalMemoryStatusEx` fills in: two numbers of 32 bits, seven of 64."""

        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total", ctypes.c_uint64),
            ("others", ctypes.c_uint64 * 6),
        )

    def physical_memory() -> int:
        """Size of this machine's memory in bytes, or `sys.maxsize` where it is unknown."""
        status = _MemoryStatus(ctypes.sizeof(_MemoryStatus))
        known = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total) if known else sys.maxsize
else:

    def physical_memory() -> int:
        """Size of this machine's memory in bytes, or `sys.maxsize` where it is unknown."""
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return sys.maxsize


def check_memory(names: str, nbytes: int) -> None:
    """Refuse a request that exceeds this machine's memory, before anything is allocated.

    Parameters
    ----------
    names : str
        The arguments that determine the size.
    nbytes : int

    Raises
    ------
    ValueError
    """
    if nbytes > physical_memory():
        most, got = physical_memory() >> 20, nbytes >> 20
        raise ValueError(f"{names}: expected at most {most:,} MB, all memory, got {got:,} MB")
