"""Batches of sequences of different lengths."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..checks import check_array, check_bool, check_lengths

__all__ = ["pad_sequence", "unpad_sequence"]


def pad_sequence(
    sequences: Iterable[npt.ArrayLike],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> np.ndarray:
    """Put sequences of different lengths side by side into one array, and pad the shorter ones.

    Recurrent layers take the lengths of the sequences, ``[len(s) for s in sequences]``, as
    `lengths`, and do no work for padding on the right.

    Parameters
    ----------
    sequences : iterable of array_like of shape (Tᵢ, *)
        B of them, of any lengths; all other axes have the same sizes.
    batch_first : bool
        Whether the result is (B, T, *) instead of (T, B, *).
    padding_value : float
        Value of the padding.
    padding_side : {"right", "left"}
        Where the padding is: after the sequences or before them.

    Returns
    -------
    ndarray of shape (T, B, *)
        T is the largest length. The dtype is the one that holds all sequences.

    Raises
    ------
    RuntimeError
        No sequences; a scalar among them; different sizes of other axes; an unknown
        `padding_side`.
    TypeError
        `batch_first` is not a bool.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.nn.utils.rnn import pad_sequence
    >>> pad_sequence([[1, 2, 3], [4]], batch_first=True).tolist()
    [[1, 2, 3], [4, 0, 0]]
    >>> pad_sequence([np.ones((5, 2)), np.ones((3, 2))]).shape
    (5, 2, 2)
    """
    check_bool("batch_first", batch_first)
    if padding_side not in ("right", "left"):
        raise RuntimeError(f"padding_side: expected 'right' or 'left', got {padding_side!r}")
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise RuntimeError("received an empty list of sequences")
    for index, array in enumerate(arrays):
        if array.ndim == 0:
            raise RuntimeError(f"sequences[{index}]: expected at least one axis, got a scalar")
        if array.shape[1:] != arrays[0].shape[1:]:
            raise RuntimeError(
                f"sequences[{index}]: expected shape (length, *{arrays[0].shape[1:]}) as of the "
                f"first one, got {array.shape}"
            )
    T = max(map(len, arrays))
    shape = (len(arrays), T, *arrays[0].shape[1:])
    padded = np.full(shape, padding_value, np.result_type(*arrays))
    for row, array in zip(padded, arrays, strict=True):
        row[T - len(array) if padding_side == "left" else 0 :][: len(array)] = array
    return padded if batch_first else np.ascontiguousarray(padded.swapaxes(0, 1))


def unpad_sequence(
    padded: np.ndarray, lengths: npt.ArrayLike, batch_first: bool = False
) -> list[np.ndarray]:
    """Cut an array with padding on the right into its sequences: the inverse of `pad_sequence`.

    Parameters
    ----------
    padded : ndarray of shape (T, B, *), or (B, T, *) with batch_first
    lengths : array_like of B integers from 1 to T
        Steps of each sequence.
    batch_first : bool
        Whether the first axis is that of the sequences.

    Returns
    -------
    list of ndarray of shape (Tᵢ, *)
        Views of `padded`.

    Raises
    ------
    TypeError
        `padded` is not a NumPy array, `lengths` are not integers, or `batch_first` is not a bool.
    ValueError
        `padded` with fewer than two axes; `lengths` out of range or not B of them.

    Examples
    --------
    >>> from fastseq.nn.utils.rnn import pad_sequence, unpad_sequence
    >>> padded = pad_sequence([[1, 2, 3], [4]])
    >>> [sequence.tolist() for sequence in unpad_sequence(padded, [3, 1])]
    [[1, 2, 3], [4]]
    """
    check_array("padded", padded)
    check_bool("batch_first", batch_first)
    if padded.ndim < 2:
        raise ValueError(f"padded: expected at least 2 axes, got shape {padded.shape}")
    rows = padded if batch_first else padded.swapaxes(0, 1)
    checked = check_lengths(lengths, rows.shape[1], rows.shape[0])
    return [row[:length] for row, length in zip(rows, checked.tolist(), strict=True)]
