"""Novelty of samples: the longest run of tokens that is copied from a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# An odd number, which has an inverse modulo 2⁶⁴.
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_BLOCK = 1 << 18
_TABLE_BITS = 20


@dataclass(frozen=True)
class CopiedRun:
    """A run of tokens that a sample shares with a text.

    Attributes
    ----------
    length : int
        Number of tokens.
    sample_start, text_start : int
        Index of its first token in the sample and in the text.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.lm import longest_copied_run
    >>> longest_copied_run(np.array([9, 2, 3, 9]), np.array([1, 2, 3, 4]))
    CopiedRun(length=2, sample_start=1, text_start=1)
    """

    length: int
    sample_start: int
    text_start: int


def longest_copied_run(sample: NDArray[Any], text: NDArray[Any]) -> CopiedRun:
    """Find the longest run of tokens of `sample` that occurs literally in `text`.

    The length is found by bisection, with one pass over the text for each guess: rolling hashes
    of all its windows are looked up among those of the sample's windows [1]_, and every hit is
    compared token by token. Memory does not depend on the size of the text, which may be
    memory-mapped.

    Parameters
    ----------
    sample : ndarray of shape (n,), integer
        Tokens that a model has drawn.
    text : ndarray of shape (m,), integer
        Tokens that it was trained on.

    Returns
    -------
    CopiedRun
        Its length is 0 if no token of the sample occurs in the text.

    Raises
    ------
    ValueError
        An array of another shape or dtype.

    References
    ----------
    .. [1] R. Karp, M. Rabin, "Efficient randomized pattern-matching algorithms", IBM Journal of
           Research and Development 31, 1987.

    Examples
    --------
    >>> import fastseq
    >>> from fastseq.lm import longest_copied_run
    >>> vocabulary = fastseq.Vocabulary.bytes()
    >>> sample = vocabulary.encode("a cat sat on his hat")
    >>> run = longest_copied_run(sample, vocabulary.encode("the cat sat on the mat"))
    >>> vocabulary.decode(sample[run.sample_start :][: run.length])
    ' cat sat on '
    """
    for name, array in (("sample", sample), ("text", text)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(
                f"{name}: expected integers of shape (n,), got {array.dtype} of {array.shape}"
            )
    best = CopiedRun(0, 0, 0)
    low, high = 0, min(len(sample), len(text))
    step = 1  # most runs are short, so the first guesses grow from the known length
    while low < high:
        guess = min(low + step, (low + high + 1) // 2)
        found = _find(sample, text, guess)
        if found is None:
            high = guess - 1
        else:
            best = _extend(sample, text, *found)
            low, step = best.length, 2 * step
    return best


def _find(sample: NDArray[Any], text: NDArray[Any], length: int) -> tuple[int, int] | None:
    """Positions in sample and text of a common run of `length` tokens, or None."""
    powers, inverses = _powers(_BLOCK + length)
    wanted = _window_hashes(sample, length, *_powers(len(sample)))
    table = np.zeros(1 << _TABLE_BITS, bool)
    table[_slots(wanted)] = True
    starts: dict[int, list[int]] = {}
    for i, value in enumerate(wanted.tolist()):
        starts.setdefault(value, []).append(i)
    for begin in range(0, len(text) - length + 1, _BLOCK):
        hashes = _window_hashes(
            text[begin : begin + _BLOCK + length - 1], length, powers, inverses
        )
        for j in np.flatnonzero(table[_slots(hashes)]).tolist():
            for i in starts.get(int(hashes[j]), ()):
                at = begin + j
                if np.array_equal(sample[i : i + length], text[at : at + length]):
                    return i, at
    return None


def _window_hashes(
    tokens: NDArray[Any], length: int, powers: NDArray[np.uint64], inverses: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Σₖ (tokens[j+k] + 1) · base^k modulo 2⁶⁴, for every window j."""
    prefix = np.zeros(len(tokens) + 1, np.uint64)
    terms = (tokens.astype(np.uint64) + np.uint64(1)) * powers[: len(tokens)]
    np.cumsum(terms, out=prefix[1:])
    count = len(tokens) - length + 1
    hashes: NDArray[np.uint64] = (prefix[length:] - prefix[:-length]) * inverses[:count]
    return hashes


def _slots(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # The high bits, because the low ones depend on few bits of the tokens.
    return hashes >> np.uint64(64 - _TABLE_BITS)


def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """base^k and base^−k for k = 0 … count − 1."""
    powers = np.full(max(count, 1), _BASE)
    inverses = np.full(max(count, 1), _INVERSE)
    powers[0] = inverses[0] = 1
    return np.cumprod(powers), np.cumprod(inverses)


def _extend(sample: NDArray[Any], text: NDArray[Any], i: int, j: int) -> CopiedRun:
    """Extend a match to the maximal run in both directions."""
    left = _common_prefix(sample[:i][::-1], text[:j][::-1])
    right = _common_prefix(sample[i:], text[j:])
    return CopiedRun(left + right, i - left, j - left)


def _common_prefix(a: NDArray[Any], b: NDArray[Any]) -> int:
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size
