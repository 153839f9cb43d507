"""Checks of arrays and arguments, with PyTorch's exception types and messages."""

import math
import sys
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import is_integer, physical_memory


def float_type(dtype: npt.DTypeLike) -> np.dtype:
    """`dtype` as float32 or float64; TypeError for any other."""
    result = np.dtype(dtype)
    if result.name not in ("float32", "float64"):
        raise TypeError(f"dtype: expected float32 or float64, got {result}")
    return result.newbyteorder("=")


# With more of them, Python objects alone take seconds and gigabytes.
MAX_LAYERS = 10_000


def zeros(dtype: np.dtype, *shape: int) -> np.ndarray:
    """Zeros, or MemoryError where they exceed the machine's memory."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > physical_memory() or max(shape) > sys.maxsize:
        raise MemoryError(f"an array of shape {shape} would take {nbytes} bytes")
    return np.zeros(shape, dtype)


def check_int(name: str, value: Any, minimum: int = 1, maximum: int | None = None) -> None:
    """TypeError unless an int, ValueError below `minimum` or above `maximum`."""
    if not is_integer(value):
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    if value < minimum:
        limit = "zero" if minimum == 1 else str(minimum - 1)
        raise ValueError(f"{name} must be greater than {limit}, got {value}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {value}")


def check_array(name: str, array: Any) -> None:
    """TypeError unless a NumPy array."""
    if not isinstance(array, np.ndarray):
        hint = "; nn.Select takes one element" if isinstance(array, tuple) else ""
        raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}{hint}")


def check_float_array(name: str, array: Any) -> np.dtype:
    """The dtype, in native byte order, of an array of floats; TypeError for anything else."""
    check_array(name, array)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}")
    return float_type(array.dtype)


def check_floats(name: str, array: Any, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """An array of this dtype (in any byte order) and shape.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        Not an array; another dtype; another shape.
    """
    check_array(name, array)
    if array.shape != shape:
        raise RuntimeError(f"{name}: expected shape {shape}, got {array.shape}")
    if not same_type(array, dtype):
        raise ValueError(f"{name}: expected dtype {dtype}, got {array.dtype}")


def check_pair(name: str, state: Any) -> tuple[Any, Any]:
    """An LSTM's state as (h, c); unless there are two, TypeError or RuntimeError."""
    if not isinstance(state, (tuple, list)):
        raise TypeError(f"{name}: expected a pair of arrays, got {type(state).__name__}")
    if len(state) != 2:
        raise RuntimeError(f"lstm expects two hidden states, got {len(state)} in {name}")
    return state[0], state[1]


def same_type(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether the array holds this type of number, in whatever byte order."""
    return array.dtype == dtype or array.dtype.newbyteorder("=") == dtype


def as_kernel_array(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array itself where kernels can read it (C-contiguous, native, aligned), or a copy."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype == dtype:
        return array
    return np.array(array, dtype, order="C")


def check_ids(name: str, ids: Any) -> np.ndarray:
    """An integer array as C-contiguous int64; TypeError for any other kind of number."""
    check_array(name, ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got dtype {ids.dtype}")
    return as_kernel_array(ids, np.dtype(np.int64))


def check_lengths(lengths: npt.ArrayLike, T: int, B: int) -> np.ndarray:
    """Lengths of B sequences as int64.

    Raises
    ------
    TypeError
        Not integers.
    ValueError
        Not B of them, or one that is not in 1…T; names its index.
    """
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"lengths: expected integers, got dtype {array.dtype}")
    if array.shape != (B,):
        raise ValueError(f"lengths: expected shape ({B},), got {array.shape}")
    for index, length in enumerate(array.tolist()):
        if not 1 <= length <= T:
            raise ValueError(f"lengths: expected 1 to {T}, got {length} at index {index}")
    return np.array(array, np.int64)


def check_rnn_options(bias: Any, batch_first: Any, dropout: Any, num_layers: Any) -> None:
    """Check the options of a recurrent layer; warn of dropout without effect."""
    check_dropout(dropout)
    check_bool("bias", bias)
    check_bool("batch_first", batch_first)
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero "
            f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
            "num_layers=1",
            stacklevel=4,
        )


def check_nonlinearity(nonlinearity: Any) -> None:
    """ValueError unless the name of an activation that an Elman network can have."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'.")


def check_projection(proj_size: Any, hidden_size: int) -> None:
    """TypeError unless an int, ValueError unless 0 or below `hidden_size`."""
    if not is_integer(proj_size):
        raise TypeError(f"proj_size should be of type int, got: {type(proj_size).__name__}")
    if proj_size < 0:
        raise ValueError(
            "proj_size should be a positive integer or zero to disable projections, "
            f"got {proj_size}"
        )
    if proj_size >= hidden_size:
        raise ValueError(
            f"proj_size has to be smaller than hidden_size, got {proj_size} and {hidden_size}"
        )


def check_dropout(dropout: Any) -> None:
    """TypeError, ValueError unless a number in [0, 1]."""
    float(dropout)  # None and the like are a TypeError, text that is no number a ValueError
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an "
            f"element being zeroed, got {dropout!r}"
        )


def check_bool(name: str, value: Any) -> None:
    """TypeError unless a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
