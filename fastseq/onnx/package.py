"""The package onnx, imported on first use; versions, types and the error of this package."""

from __future__ import annotations

from typing import Any

import numpy as np

OPSET, IR_VERSION = 17, 8  # written; onnxruntime reads them since 1.12, of 2022
NEWER_IR_VERSION = 10  # of models that have been read with a newer version of operators
OPSETS = range(7, 29)  # read
DOMAINS = ("", "ai.onnx")
# By the numbers in TensorProto.DataType.
DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
    12: np.dtype(np.uint32),
    13: np.dtype(np.uint64),
}
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


class OnnxError(ValueError):
    """A file that is no ONNX model, or a model that cannot be expressed on the other side.

    The message names the file, node, attribute or module, what came and what was expected.

    Examples
    --------
    >>> from pathlib import Path
    >>> import fastseq.onnx
    >>> Path("notes.onnx").write_bytes(b"No model")
    8
    >>> try:
    ...     fastseq.onnx.load("notes.onnx")
    ... except fastseq.onnx.OnnxError as error:
    ...     print(error)
    notes.onnx: expected an ONNX model, got something else
    """


def import_onnx() -> Any:
    """Import the package onnx.

    Raises
    ------
    ImportError
        It is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError(
            "fastseq.onnx needs the package onnx: pip install 'fastseq-rnn[onnx]'"
        ) from None
    return onnx
