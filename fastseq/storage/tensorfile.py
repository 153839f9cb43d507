"""Checkpoint files: safetensors with a checksum, written atomically and verified when read.

The layout is that of safetensors [1]_: the header's length (8 bytes, little-endian), a JSON
header, the tensors' bytes. Its metadata carries a SHA-256 over the entire file, computed with
the 64 digits of the checksum itself taken as zeros.

The header is parsed here and not by the safetensors library because the library leaves out
checks that a checkpoint needs. It knows no checksum; it accepts a name that occurs twice (the
last entry wins), names of any characters and shapes that NumPy cannot hold. It also copies
every tensor, and it opens the file by name, so that the bytes it returns need not be the bytes
whose checksum was verified. Here both are the same mapped file.

References
----------
.. [1] https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import atomic_file, read_replaceable

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
}
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

MAX_HEADER_BYTES = 100 << 20
_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_UNSIGNED = b'"sha256":"' + b"0" * 64 + b'"'


class CheckpointError(ValueError):
    """A file that is not a complete fastseq checkpoint, or does not fit its purpose.

    The message names the file and what is wrong with it.

    Examples
    --------
    >>> from pathlib import Path
    >>> import fastseq
    >>> Path("notes.txt").write_bytes(b"No model")
    8
    >>> try:
    ...     fastseq.LanguageModel.load("notes.txt")
    ... except fastseq.lm.CheckpointError as error:
    ...     print(str(error).partition(": the")[0])
    notes.txt: not a usable checkpoint
    """


@dataclass(frozen=True)
class TensorFile:
    """A verified file: its metadata and its tensors.

    Attributes
    ----------
    metadata : dict of str to str
        Text from the header.
    tensors : dict of str to ndarray
        Read-only views of the contents, which are mapped where the system can.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.storage.tensorfile import read_tensors, write_tensors
    >>> write_tensors("ones.safetensors", {"x": np.ones(2)}, {"format": "mine"})
    >>> file = read_tensors("ones.safetensors")
    >>> file.metadata["format"], file.tensors["x"].flags.writeable
    ('mine', False)
    """

    metadata: dict[str, str]
    tensors: dict[str, NDArray[Any]]


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write tensors and metadata to a safetensors file with a checksum, atomically.

    Parameters
    ----------
    path : path-like
        File to write.
    tensors : mapping of str to ndarray of float32, float64 or int64
        By names of letters, digits and underscores, joined by dots.
    metadata : mapping of str to str
        Text for the header; the SHA-256 is added under the name ``sha256``.

    Raises
    ------
    TypeError, ValueError
        A tensor of another dtype; another kind of name.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.storage.tensorfile import read_tensors, write_tensors
    >>> write_tensors("eye.safetensors", {"layer.weight": np.eye(2)}, {})
    >>> read_tensors("eye.safetensors").tensors["layer.weight"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    # Writing wide types first keeps every tensor aligned.
    arrays = {
        name: np.ascontiguousarray(tensors[name])
        for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    }
    header = _header(arrays, metadata)
    digest = hashlib.sha256(header)
    for array in arrays.values():
        digest.update(array.data)
    signed = b'"sha256":"' + digest.hexdigest().encode() + b'"'
    with atomic_file(path) as file:
        file.write(header.replace(_UNSIGNED, signed))
        for array in arrays.values():
            file.write(array.data)


def _header(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {**metadata, "sha256": "0" * 64}}
    offset = 0
    for name, array in arrays.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"tensors: expected a dotted name, got {name!r}")
        if array.dtype not in _DTYPE_NAMES:
            raise TypeError(f"tensors: {name}: expected float32, float64, int64: {array.dtype}")
        entries[name] = {
            "dtype": _DTYPE_NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_tensors(path: str | os.PathLike[str]) -> TensorFile:
    """Read a file that `write_tensors` made and verify every byte of it.

    Nothing is unpickled. No size in the header is trusted: the sizes must add up to the file's
    size before any array is made.

    Parameters
    ----------
    path : path-like
        File to read.

    Returns
    -------
    TensorFile
        Its tensors are read-only views of the contents, which are mapped where the system can.

    Raises
    ------
    OSError
        The file cannot be opened.
    CheckpointError
        It is damaged, or not a file of this format.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.storage.tensorfile import read_tensors, write_tensors
    >>> write_tensors("three.safetensors", {"x": np.arange(3)}, {})
    >>> read_tensors("three.safetensors").tensors["x"].tolist()
    [0, 1, 2]
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < 8:
                raise CheckpointError(f"expected at least 8 bytes, got {size}")
            content = read_replaceable(file)
        return _parse(content)
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: not a usable checkpoint: {error}") from None


def _parse(content: memoryview) -> TensorFile:
    start = 8 + _header_length(content)
    entries = _load_json(bytes(content[8:start]))
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError("metadata: expected strings")
    spans = {name: _span(name, entry) for name, entry in entries.items()}
    _check_cover(spans, len(content) - start)
    _verify_checksum(content, start)
    tensors = {
        name: np.frombuffer(content[start + begin : start + end], dtype).reshape(shape)
        for name, (begin, end, dtype, shape) in spans.items()
    }
    return TensorFile(metadata, tensors)


def _header_length(content: memoryview) -> int:
    first = bytes(content[:8])
    length, available = int.from_bytes(first, "little"), len(content) - 8
    if length <= min(available, MAX_HEADER_BYTES):
        return length
    if first.startswith((b"PK\x03\x04", b"\x80")):
        raise CheckpointError("expected a safetensors file, got a pickle or zip archive")
    raise CheckpointError(f"the header claims {length} bytes, the file has {available}")


def _load_json(text: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError):
        raise CheckpointError("the header is not JSON") from None
    if not isinstance(entries, dict):
        raise CheckpointError("the header is not a JSON object")
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise CheckpointError("the header has a name twice")
    return entries


_Span = tuple[int, int, np.dtype[Any], tuple[int, ...]]


def _span(name: str, entry: Any) -> _Span:
    """Begin, end, dtype and shape of one tensor, checked against each other."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise CheckpointError(f"tensor name {name[:80]!r}: expected letters, digits and dots")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{name}: expected dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise CheckpointError(f"{name}: dtype: expected one of {', '.join(DTYPES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_are_sizes(shape) and len(shape) <= 8 and _are_sizes(offsets) and len(offsets) == 2):
        raise CheckpointError(f"{name}: shape and data_offsets: expected non-negative integers")
    if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(f"{name}: shape and data_offsets disagree")
    return offsets[0], offsets[1], dtype, tuple(shape)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in values)


def _check_cover(spans: Mapping[str, _Span], size: int) -> None:
    """Check that the tensors lie end to end and fill the file, without gap or overlap."""
    position = 0
    for name, (begin, end, _, _) in sorted(spans.items(), key=lambda item: item[1][:2]):
        if begin != position:
            raise CheckpointError(f"{name}: expected at byte {position} of the data, got {begin}")
        position = end
    if position != size:
        raise CheckpointError(
            f"the header describes {position} bytes of data, the file has {size}"
        )


def _verify_checksum(content: memoryview, start: int) -> None:
    header = bytes(content[:start])
    found = _CHECKSUM.findall(header)
    if len(found) != 1:
        raise CheckpointError("expected one checksum in the metadata")
    digest = hashlib.sha256(_CHECKSUM.sub(_UNSIGNED, header))
    digest.update(content[start:])
    if digest.hexdigest().encode() != found[0]:
        raise CheckpointError("the checksum does not match: the file is damaged")
