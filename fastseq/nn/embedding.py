"""Embedding lookup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..backend import kernels
from . import init
from .checks import check_floats, check_ids, check_int, float_type, zeros
from .generator import own_generator
from .module import Module, PendingCalls
from .parameter import Parameter


class Embedding(Module):
    """Table of vectors, one for each integer: y = weight[ids].

    Parameters
    ----------
    num_embeddings : int
        Rows V of the table.
    embedding_dim : int
        Columns E of the table.
    padding_idx : int or None
        A row that starts as zeros and gets no gradient; a negative one counts from the end.
    dtype : {"float32", "float64"}
        Type of the table.
    seed : int or None
        Seed of the initial values, which are standard normal. None draws from the generator that
        `fastseq.manual_seed` seeds.

    Attributes
    ----------
    weight : Parameter of shape (V, E)
        Its gradient is row-sparse: optimizers may skip rows that were not read.

    Raises
    ------
    TypeError
        A size that is not an integer, or a dtype other than float32 and float64.
    ValueError
        A size below 1, or `padding_idx` outside of the table.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> embedding = nn.Embedding(num_embeddings=10, embedding_dim=3, seed=0)
    >>> y = embedding(np.array([[7, 1], [7, 0]]))
    >>> y.shape
    (2, 2, 3)
    >>> embedding.backward(np.ones_like(y))
    >>> embedding.weight.rows.tolist(), embedding.weight.grad[7].tolist()
    ([0, 1, 7], [2.0, 2.0, 2.0])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        check_int("num_embeddings", num_embeddings)
        check_int("embedding_dim", embedding_dim)
        if padding_idx is not None:
            check_int("padding_idx", padding_idx, -num_embeddings)
            if padding_idx >= num_embeddings:
                raise ValueError(
                    f"padding_idx must be within num_embeddings={num_embeddings}, "
                    f"got {padding_idx}"
                )
            padding_idx %= num_embeddings
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx, self.dtype = padding_idx, float_type(dtype)
        self.weight = Parameter(zeros(self.dtype, num_embeddings, embedding_dim), row_sparse=True)
        self._rng = own_generator(seed)
        self._pending = PendingCalls()
        self.flatten_parameters()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew from N(0, 1) and clear the row of `padding_idx`."""
        init.normal_(self.weight.data, rng=self._rng)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, ids: np.ndarray) -> np.ndarray:
        """Look up rows of the table.

        Parameters
        ----------
        ids : ndarray of integers from 0 to V − 1, of any shape

        Returns
        -------
        ndarray of shape (*ids.shape, E)

        Raises
        ------
        TypeError
            Not a NumPy array of integers.
        IndexError
            An id that is not in the table.
        """
        numbers = check_ids("ids", ids)
        flat = numbers.reshape(-1)
        y = np.empty((*ids.shape, self.embedding_dim), self.dtype)
        if ids.size:
            rows = y.reshape(-1, self.embedding_dim)
            kernels(self.dtype).gather_rows(self.weight.data, flat, None, rows)
        if self.saves_for_backward():
            self._pending.push(numbers.copy(), numbers.nbytes, y)
        else:
            self._pending.note_unsaved(y)
        return y

    def backward(self, grad_output: np.ndarray) -> None:
        """Add to the gradient of the rows that the last pending forward call has read.

        Integers have no gradient, so that nothing is returned.

        Parameters
        ----------
        grad_output : ndarray of shape (*ids.shape, E)
            Gradient of the loss with respect to the output.

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending, or a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.
        """
        ids, E = self._pending.last(grad_output, self.saves_for_backward()), self.embedding_dim
        check_floats("grad_output", grad_output, self.dtype, (*ids.shape, E))
        self._pending.pop()
        flat, dy = ids.reshape(-1), np.array(grad_output, self.dtype).reshape(-1, E)
        if self.padding_idx is not None:
            used = flat != self.padding_idx
            flat, dy = flat[used], dy[used]
        if flat.size:
            self.weight.mark_rows(flat)
            kernels(self.dtype).scatter_add_rows(dy, flat, self.weight.grad)

    def extra_repr(self) -> str:
        """Sizes and `padding_idx`, for the repr.

        Returns
        -------
        str
        """
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"

    if TYPE_CHECKING:
        __call__ = forward
