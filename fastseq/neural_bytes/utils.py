"""The helpers of the original: matrices as nested lists, vocabularies, a loss curve."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..backend import kernels
from ._matrix import as_matrix

Rows = list[list[float]]


def initialize_empty_matrix(r: int, c: int) -> Rows:
    """r rows of c zeros."""
    return [[0.0] * c for _ in range(r)]


def matrix_multiplication(a: ArrayLike, b: ArrayLike) -> Rows:
    """a @ b.

    Raises
    ------
    ValueError
        Rows of unequal length, or shapes that do not match; also in the functions below.
    """
    left, right = as_matrix("a", a), as_matrix("b", b)
    if left.shape[1] != right.shape[0]:
        raise ValueError(f"b: expected {left.shape[1]} rows, got shape {right.shape}")
    product = np.empty((left.shape[0], right.shape[1]))
    kernels(np.float64).matmul(left, right, product, None, False)
    return _rows(product)


def transpose(matrix: ArrayLike) -> Rows:
    """Columns as rows."""
    return _rows(as_matrix("matrix", matrix).T)


def elementwise_add(a: ArrayLike, b: ArrayLike) -> Rows:
    """a + b, of equal shapes."""
    left, right = _pair(a, b)
    return _rows(left + right)


def elementwise_substraction(a: ArrayLike, b: ArrayLike) -> Rows:
    """a − b, of equal shapes."""
    left, right = _pair(a, b)
    return _rows(left - right)


def elementwise_multiplication(a: ArrayLike, b: ArrayLike) -> Rows:
    """a · b, element by element, of equal shapes."""
    left, right = _pair(a, b)
    return _rows(left * right)


def scale_matrix(matrix: ArrayLike, scalar: float) -> Rows:
    """Every element times `scalar`."""
    return _rows(as_matrix("matrix", matrix) * scalar)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    left = as_matrix("a", a)
    return left, as_matrix("b", b, left.shape)


def _rows(matrix: np.ndarray) -> Rows:
    rows: Rows = matrix.tolist()
    return rows


def build_ascii_vocab(ascii_chars: int = 256) -> tuple[dict[str, int], dict[int, str]]:
    """Characters by their code: (char_to_ix, ix_to_char)."""
    ix_to_char = {i: chr(i) for i in range(ascii_chars)}
    return {char: i for i, char in ix_to_char.items()}, ix_to_char


def text_to_indices(text: str, char_to_ix: Mapping[str, int]) -> list[int]:
    """Index of every character, 0 for one that is not in the vocabulary."""
    return [char_to_ix.get(char, 0) for char in text]


def build_word_vocab(text: str, max_words: int = 5000) -> tuple[dict[str, int], dict[int, str]]:
    """The most frequent words, of equals those seen first: (word_to_ix, ix_to_word)."""
    words = [word for word, _ in Counter(text.split()).most_common(max_words)]
    return {word: i for i, word in enumerate(words)}, dict(enumerate(words))


def text_to_word_indices(text: str, word_to_ix: Mapping[str, int]) -> list[int]:
    """Index of every word, 0 for one that is not in the vocabulary."""
    return [word_to_ix.get(word, 0) for word in text.split()]


def plot_loss(loss_history: Sequence[float]) -> None:
    """Show the loss by update in a window, with matplotlib.

    Without a display nothing is shown. The figure is the current one of pyplot, so that
    ``matplotlib.pyplot.savefig`` still writes it to a file.
    """
    from ..plots import require

    require()
    import matplotlib.pyplot as plt

    _, axes = plt.subplots()
    axes.plot(range(1, len(loss_history) + 1), loss_history)
    axes.set_xlabel("update")
    axes.set_ylabel("loss, nats per window")
    with warnings.catch_warnings():  # of a backend without windows
        warnings.filterwarnings("ignore", message=".*non-interactive", category=UserWarning)
        plt.show()
