"""Named arrays in safetensors files, the format in which PyTorch users exchange weights."""

import os
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from safetensors import numpy as safetensors

from .files import atomic_file

PathLike = str | os.PathLike[str]


def save_file(
    tensors: Mapping[str, npt.ArrayLike], path: PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays, such as a module's ``state_dict()``, to `path`.

    The file is assembled in memory and replaces `path` atomically.

    Parameters
    ----------
    tensors : mapping of name to array
    path : path-like
    metadata : mapping of str to str, optional
        Stored in the header.

    Raises
    ------
    TypeError
        An array that does not hold real numbers.
    OSError
        The file cannot be written, or the disk is full.
    """
    # The library writes the bytes as they lie in memory, so each array must be C-contiguous
    # and in native byte order.
    arrays = {name: _plain(name, np.asarray(value)) for name, value in tensors.items()}
    content = safetensors.save(arrays, None if metadata is None else dict(metadata))
    with atomic_file(path) as file:
        file.write(content)


def load_file(path: PathLike) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file, by name.

    Raises
    ------
    FileNotFoundError
    safetensors.SafetensorError
        Not a safetensors file, or a damaged one.
    """
    return safetensors.load_file(os.fspath(path))


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")
