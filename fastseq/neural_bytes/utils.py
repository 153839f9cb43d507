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
    """Make a matrix of zeros.

    Parameters
    ----------
    r, c : int
        Numbers of rows and columns.

    Returns
    -------
    list of list of float
        Rows.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import initialize_empty_matrix
    >>> initialize_empty_matrix(2, 3)
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return [[0.0] * c for _ in range(r)]


def matrix_multiplication(a: ArrayLike, b: ArrayLike) -> Rows:
    """Compute the matrix product a @ b.

    Parameters
    ----------
    a, b : nested lists of float, or ndarray
        Of shapes (m, k) and (k, n).

    Returns
    -------
    list of list of float
        Rows of a matrix of shape (m, n).

    Raises
    ------
    ValueError
        Not numbers, rows of unequal length, or shapes that do not match.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import matrix_multiplication
    >>> matrix_multiplication([[1, 2], [3, 4]], [[1], [10]])
    [[21.0], [43.0]]
    """
    left, right = as_matrix("a", a), as_matrix("b", b)
    if left.shape[1] != right.shape[0]:
        raise ValueError(f"b: expected {left.shape[1]} rows, got shape {right.shape}")
    product = np.empty((left.shape[0], right.shape[1]))
    kernels(np.float64).matmul(left, right, product, None, False)
    return _rows(product)


def transpose(matrix: ArrayLike) -> Rows:
    """Turn columns into rows.

    Parameters
    ----------
    matrix : nested lists of float, or ndarray
        Of shape (m, n).

    Returns
    -------
    list of list of float
        Rows of a matrix of shape (n, m).

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import transpose
    >>> transpose([[1, 2], [3, 4]])
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return _rows(as_matrix("matrix", matrix).T)


def elementwise_add(a: ArrayLike, b: ArrayLike) -> Rows:
    """Compute a + b.

    Parameters
    ----------
    a, b : nested lists of float, or ndarray
        Matrices of one shape.

    Returns
    -------
    list of list of float
        Rows.

    Raises
    ------
    ValueError
        Not numbers, rows of unequal length, or two shapes.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import elementwise_add
    >>> elementwise_add([[1, 2]], [[3, 4]])
    [[4.0, 6.0]]
    """
    left, right = _pair(a, b)
    return _rows(left + right)


def elementwise_substraction(a: ArrayLike, b: ArrayLike) -> Rows:
    """Compute a − b.

    Parameters
    ----------
    a, b : nested lists of float, or ndarray
        Matrices of one shape.

    Returns
    -------
    list of list of float
        Rows.

    Raises
    ------
    ValueError
        Not numbers, rows of unequal length, or two shapes.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import elementwise_substraction
    >>> elementwise_substraction([[1, 2]], [[3, 5]])
    [[-2.0, -3.0]]
    """
    left, right = _pair(a, b)
    return _rows(left - right)


def elementwise_multiplication(a: ArrayLike, b: ArrayLike) -> Rows:
    """Compute a · b, element by element.

    Parameters
    ----------
    a, b : nested lists of float, or ndarray
        Matrices of one shape.

    Returns
    -------
    list of list of float
        Rows.

    Raises
    ------
    ValueError
        Not numbers, rows of unequal length, or two shapes.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import elementwise_multiplication
    >>> elementwise_multiplication([[1, 2]], [[3, 5]])
    [[3.0, 10.0]]
    """
    left, right = _pair(a, b)
    return _rows(left * right)


def scale_matrix(matrix: ArrayLike, scalar: float) -> Rows:
    """Multiply every element by a number.

    Parameters
    ----------
    matrix : nested lists of float, or ndarray
        Of any shape (m, n).
    scalar : float
        The number.

    Returns
    -------
    list of list of float
        Rows.

    Raises
    ------
    ValueError
        Not numbers, or rows of unequal length.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import scale_matrix
    >>> scale_matrix([[1, 2]], 0.5)
    [[0.5, 1.0]]
    """
    return _rows(as_matrix("matrix", matrix) * scalar)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    left = as_matrix("a", a)
    return left, as_matrix("b", b, left.shape)


def _rows(matrix: np.ndarray) -> Rows:
    rows: Rows = matrix.tolist()
    return rows


def build_ascii_vocab(ascii_chars: int = 256) -> tuple[dict[str, int], dict[int, str]]:
    """Number characters by their code.

    Parameters
    ----------
    ascii_chars : int
        Number of characters.

    Returns
    -------
    char_to_ix : dict of str to int
    ix_to_char : dict of int to str

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import build_ascii_vocab
    >>> char_to_ix, ix_to_char = build_ascii_vocab()
    >>> char_to_ix["a"], ix_to_char[98]
    (97, 'b')
    """
    ix_to_char = {i: chr(i) for i in range(ascii_chars)}
    return {char: i for i, char in ix_to_char.items()}, ix_to_char


def text_to_indices(text: str, char_to_ix: Mapping[str, int]) -> list[int]:
    """Convert each character to its index.

    Parameters
    ----------
    text : str
        A text.
    char_to_ix : mapping of str to int
        Index by character.

    Returns
    -------
    list of int
        0 for a character that is not in the vocabulary.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import text_to_indices
    >>> text_to_indices("abc", {"a": 1, "b": 2})
    [1, 2, 0]
    """
    return [char_to_ix.get(char, 0) for char in text]


def build_word_vocab(text: str, max_words: int = 5000) -> tuple[dict[str, int], dict[int, str]]:
    """Number the most frequent words, of equally frequent ones those seen first.

    Parameters
    ----------
    text : str
        A text.
    max_words : int
        Largest number of words.

    Returns
    -------
    word_to_ix : dict of str to int
    ix_to_word : dict of int to str

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import build_word_vocab
    >>> word_to_ix, ix_to_word = build_word_vocab("to be or not to be", max_words=3)
    >>> word_to_ix
    {'to': 0, 'be': 1, 'or': 2}
    """
    words = [word for word, _ in Counter(text.split()).most_common(max_words)]
    return {word: i for i, word in enumerate(words)}, dict(enumerate(words))


def text_to_word_indices(text: str, word_to_ix: Mapping[str, int]) -> list[int]:
    """Convert each word to its index.

    Parameters
    ----------
    text : str
        A text.
    word_to_ix : mapping of str to int
        Index by word.

    Returns
    -------
    list of int
        0 for a word that is not in the vocabulary.

    Examples
    --------
    >>> from fastseq.neural_bytes.utils import text_to_word_indices
    >>> text_to_word_indices("to be brave", {"to": 0, "be": 1})
    [0, 1, 0]
    """
    return [word_to_ix.get(word, 0) for word in text.split()]


def plot_loss(loss_history: Sequence[float]) -> None:
    """Show the loss by update in a window, with matplotlib.

    Without a display nothing is shown. The figure is the current one of pyplot, so that
    ``matplotlib.pyplot.savefig`` still writes it to a file.

    Parameters
    ----------
    loss_history : sequence of float
        Loss of every update, from the first, in nats per window.

    Raises
    ------
    PlotError
        matplotlib is not installed.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")  # draws into files only
    >>> from matplotlib import pyplot
    >>> from fastseq.neural_bytes import plot_loss
    >>> plot_loss([120.0, 95.0, 80.0])
    >>> pyplot.savefig("loss.png")
    >>> pyplot.close()
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
