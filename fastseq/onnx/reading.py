"""ONNX files, read with distrust: protobuf messages, tensors, attributes.

No size in a file is trusted: a tensor's sizes must agree with the bytes that are there before any
array is made. Data beside the model lies in its folder, in a file of a plain name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_memory
from .package import DOMAINS, DTYPES, OPSETS, OnnxError, import_onnx

EXTERNAL = 1  # TensorProto.DataLocation
# Fields that hold the values of a tensor without `raw_data`, by the kind of number.
_FIELDS = {"float32": "float_data", "float64": "double_data", "int64": "int64_data",
           "uint32": "uint64_data", "uint64": "uint64_data"}  # fmt: skip


def read_model(path: str | os.PathLike[str]) -> Any:
    """Read a ModelProto and check what its parts are written in.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    ImportError
        The package onnx is missing.
    OSError
        The file cannot be read.
    OnnxError
        It is not an ONNX model, or of an unknown version.
    """
    onnx = import_onnx()
    check_memory(os.fspath(path), os.stat(path).st_size)
    content = Path(path).read_bytes()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # protobuf's class of errors depends on its implementation
        raise OnnxError("expected an ONNX model, got something else") from None
    if not model.HasField("graph") or not model.opset_import:
        raise OnnxError("expected an ONNX model, got something else")
    _check_text(model)
    return _inlined(model) if model.functions else model


def _check_text(message: Any) -> None:
    """Refuse names and other text that are not UTF-8; protobuf gives bytes in their place."""
    for field, value in message.ListFields():
        if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE):
            single = isinstance(value, str | bytes) or hasattr(value, "ListFields")
            for part in [value] if single else value:
                if isinstance(part, bytes):
                    raise OnnxError(f"{field.name}: expected text, got {part[:40]!r}")
                if not isinstance(part, str):
                    _check_text(part)


def _inlined(model: Any) -> Any:
    """The model with the bodies of its own functions in place of their calls."""
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        raise OnnxError(f"functions: cannot be inlined: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


def opset(model: Any) -> int:
    """The version of ONNX's own operators; OnnxError where it is unknown."""
    versions = [entry.version for entry in model.opset_import if entry.domain in DOMAINS]
    if len(versions) != 1:
        raise OnnxError(f"opset: expected one version of ONNX's operators, got {versions}")
    if versions[0] not in OPSETS:
        raise OnnxError(f"opset: expected {OPSETS[0]} to {OPSETS[-1]}, got {versions[0]}")
    return int(versions[0])


def tensor(proto: Any, folder: Path) -> np.ndarray:
    """A tensor as an array.

    Parameters
    ----------
    proto : TensorProto
    folder : Path
        Where data beside the model lies.
    """
    name = proto.name or "a tensor"
    if proto.data_type not in DTYPES:
        raise OnnxError(f"{name}: type {proto.data_type} of tensors is not supported")
    dtype, shape = DTYPES[proto.data_type], tuple(proto.dims)
    if any(size < 0 for size in shape) or len(shape) > 32:
        raise OnnxError(f"{name}: expected at most 32 sizes of at least 0, got {shape[:33]}")
    if proto.HasField("segment"):
        raise OnnxError(f"{name}: tensors in segments are not supported")
    if proto.data_location == EXTERNAL:
        values = _external(proto, name, folder, math.prod(shape) * dtype.itemsize)
    else:
        values = proto.raw_data
    if proto.data_location != EXTERNAL and not proto.HasField("raw_data"):
        array = _from_numbers(proto, dtype)
    elif len(values) % dtype.itemsize:
        raise OnnxError(f"{name}: expected whole numbers of {dtype}, got {len(values)} bytes")
    else:
        array = np.frombuffer(values, dtype.newbyteorder("<")).astype(dtype)
    if array.size != math.prod(shape):
        raise OnnxError(f"{name}: expected {math.prod(shape)} values by its sizes {shape}, "
                        f"got {array.size}")  # fmt: skip
    try:
        return array.reshape(shape)
    except ValueError:  # a product of sizes beside a zero that is too large for NumPy
        raise OnnxError(f"{name}: sizes {shape} are too large") from None


def _from_numbers(proto: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Values that are written one by one; half precision as its bits."""
    numbers = getattr(proto, _FIELDS.get(dtype.name, "int32_data"))
    if dtype == np.float16:
        return np.array(numbers, np.int64).astype(np.uint16).view(np.float16)
    return np.array(numbers, np.int64 if dtype.kind in "ib" else None).astype(dtype)


def _external(proto: Any, name: str, folder: Path, nbytes: int) -> bytes:
    """The bytes of a tensor in a file beside the model."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    if location in ("", ".", "..") or set(location) & set("/\\:\0"):
        raise OnnxError(f"{name}: location: expected a file beside the model, got {location!r}")
    path = folder / location
    if path.is_symlink() or not path.is_file():
        raise OnnxError(f"{name}: location: expected a file beside the model, {path} is none")
    offset, length = (_count(name, key, entries.get(key)) for key in ("offset", "length"))
    start = offset or 0
    if length not in (None, nbytes) or start + nbytes > path.stat().st_size:
        raise OnnxError(
            f"{name}: expected {nbytes} bytes at {start} of {path}, which are not there"
        )
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(nbytes)


def _count(name: str, key: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise OnnxError(f"{name}: {key}: expected a number of bytes, got {text[:40]!r}")
    return int(text)


def attributes(node: Any, folder: Path) -> dict[str, Any]:
    """The attributes of a node: numbers, text, tuples of them, arrays, graphs.

    Parameters
    ----------
    node : NodeProto
    folder : Path
        Where data beside the model lies.
    """
    result: dict[str, Any] = {}
    for entry in node.attribute:
        if entry.ref_attr_name or entry.type not in _READERS:
            raise OnnxError(f"attribute {entry.name!r}: this kind is not supported")
        value = _READERS[entry.type](entry)
        result[entry.name] = tensor(value, folder) if entry.type == 4 else value
    return result


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


# By AttributeProto.AttributeType.
_READERS: Mapping[int, Any] = {
    1: lambda entry: entry.f,
    2: lambda entry: entry.i,
    3: lambda entry: _text(entry.s),
    4: lambda entry: entry.t,
    5: lambda entry: entry.g,
    6: lambda entry: tuple(entry.floats),
    7: lambda entry: tuple(entry.ints),
    8: lambda entry: tuple(map(_text, entry.strings)),
}
