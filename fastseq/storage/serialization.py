"""Named arrays in safetensors files, the format in which PyTorch users exchange weights."""

from __future__ import annotations

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
    """Write arrays, such as a module's ``state_dict()``, to a safetensors file [1]_.

    The file is assembled in memory and replaces `path` atomically: after a crash or with a full
    disk its old contents are still there.

    Parameters
    ----------
    tensors : mapping of str to array_like
        Arrays of real numbers or bools, by name.
    path : path-like
        File to write.
    metadata : mapping of str to str, optional
        Text that is stored in the header.

    Raises
    ------
    TypeError
        An array of other values.
    OSError
        The file cannot be written, or the disk is full.

    References
    ----------
    .. [1] https://github.com/huggingface/safetensors#format

    Examples
    --------
    >>> import fastseq
    >>> from fastseq import nn
    >>> one, two = nn.GRU(3, 4, seed=0), nn.GRU(3, 4, seed=1)
    >>> fastseq.save_file(one.state_dict(), "gru.safetensors")
    >>> two.load_state_dict(fastseq.load_file("gru.safetensors"))
    IncompatibleKeys(missing_keys=[], unexpected_keys=[])
    """
    # The library writes the bytes as they lie in memory, so each array must be C-contiguous
    # and in native byte order.
    arrays = {name: _plain(name, np.asarray(value)) for name, value in tensors.items()}
    content = safetensors.save(arrays, None if metadata is None else dict(metadata))
    with atomic_file(path) as file:
        file.write(content)


def load_file(path: PathLike) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file.

    Parameters
    ----------
    path : path-like
        File to read, written by `save_file` or by any other program.

    Returns
    -------
    dict of str to ndarray
        By name.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    safetensors.SafetensorError
        It is not a safetensors file, or damaged.

    Examples
    --------
    >>> import fastseq
    >>> fastseq.save_file({"weight": [[1.0, 2.0]]}, "weight.safetensors")
    >>> fastseq.load_file("weight.safetensors")
    {'weight': array([[1., 2.]])}
    """
    return safetensors.load_file(os.fspath(path))


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")
