"""The common base of RNN and LSTM: sizes, softmax layer, one-hot inputs, Adagrad, sampling."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .._kernels.records import AdagradOptions, Clip, LayerCall
from ..backend import kernels
from ..checks import check_int, check_real
from ._gradients import Columns, Gradients
from ._matrix import Matrix, Shape, is_table, laid_out, rows_of

LOSS_EPSILON = 1e-12  # keeps the loss of a token with probability zero finite
ADAGRAD_EPSILON = 1e-8
NO_CLIPPING = Clip(scale=1.0, limit=math.inf, weight_decay=0.0)
DTYPE = np.dtype(np.float64)


@dataclass(frozen=True)
class Cache:
    """Intermediate results that `forward` passes to `backward`.

    Attributes
    ----------
    ids : ndarray of shape (T,), int64
        The inputs.
    call : LayerCall
        Of the recurrent layer.
    dlogits : ndarray of shape (T, V)
        d loss / d logits.
    """

    ids: np.ndarray
    call: LayerCall
    dlogits: np.ndarray


class Model:
    """A softmax layer over the states of a recurrent layer, trained by Adagrad.

    Parameters
    ----------
    vocab_size, hidden_size : int
        Numbers V of tokens and H of units.
    seq_length : int
        Stored for compatibility.
    learning_rate : float
        Of Adagrad.
    clip_value : float
        Bound on every element of a gradient.
    """

    names: ClassVar[tuple[str, ...]]  # of the parameters, in the order of gradients

    V = Matrix()
    c = Matrix()

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        seq_length: int,
        learning_rate: float,
        clip_value: float,
    ) -> None:
        sizes = {"vocab_size": vocab_size, "hidden_size": hidden_size, "seq_length": seq_length}
        for name, size in sizes.items():
            check_int(name, size, 1)
        check_real("learning_rate", learning_rate)
        check_real("clip_value", clip_value, 0.0)
        self.vocab_size, self.hidden_size, self.seq_length = sizes.values()
        self.learning_rate, self.clip_value = learning_rate, clip_value

    def shape_of(self, name: str) -> Shape:
        """Return the shape of a parameter, its gradient (d…) or its Adagrad memory (m…).

        Parameters
        ----------
        name : str
            Such as "W", "dW" or "mW".

        Returns
        -------
        (int, int)
        """
        V, H = self.vocab_size, self.hidden_size
        shapes = {"U": (H, V), "W": (H, H), "V": (V, H), "b": (H, 1), "c": (V, 1)}
        return shapes[name.lstrip("dm")[0]]

    def update(self, grads: Sequence[ArrayLike]) -> None:
        """Make one step of Adagrad [1]_: m ← m + g², p ← p − learning_rate · g / √(m + 1e-8).

        Parameters
        ----------
        grads : sequence of matrices
            One for each parameter, in the order in which `backward` returns them.

        Raises
        ------
        ValueError
            Too few or too many, or a wrong shape; nothing is changed.

        References
        ----------
        .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning
               and stochastic optimization", JMLR 12, 2011.
        """
        if len(grads) != len(self.names):
            raise ValueError(f"grads: expected {len(self.names)} matrices, got {len(grads)}")
        gradients = [self._gradient(grads, k) for k in range(len(self.names))]
        memory = self._memory()
        memory[:] = [
            laid_out(f"m{name}", m, self.shape_of(name))
            for name, m in zip(self.names, memory, strict=True)
        ]
        for name, gradient, m in zip(self.names, gradients, memory, strict=True):
            self._adagrad(name, gradient, m)

    def _gradient(self, grads: Sequence[ArrayLike], k: int) -> np.ndarray | Columns:
        shape = self.shape_of(self.names[k])
        short = grads.unread(k) if isinstance(grads, Gradients) else None
        if short is not None and short.shape == shape:
            return short
        return laid_out(f"d{self.names[k]}", grads[k], shape)

    def _memory(self) -> list[np.ndarray]:
        """Adagrad's sums of squared gradients, in the order of the parameters."""
        raise NotImplementedError

    def _adagrad(self, name: str, gradient: np.ndarray | Columns, memory: np.ndarray) -> None:
        """Update a parameter; rows of a table without gradient do not change."""
        p, m = rows_of(name, getattr(self, name)), rows_of(name, memory)
        if isinstance(gradient, Columns):
            ids = gradient.ids
            p_rows, m_rows = p[ids], m[ids]
            self._step(p_rows, gradient.rows, m_rows, None)
            p[ids], m[ids] = p_rows, m_rows
        else:
            g = rows_of(name, gradient)
            self._step(p, g, m, np.flatnonzero(g.any(axis=1)) if is_table(name) else None)

    def _step(
        self, p: np.ndarray, g: np.ndarray, memory: np.ndarray, rows: np.ndarray | None
    ) -> None:
        options = AdagradOptions(self.learning_rate, ADAGRAD_EPSILON, eps_inside=True)
        kernels(DTYPE).adagrad(p, g, memory, rows, NO_CLIPPING, options)

    # -- inputs: the product with a one-hot vector is a row of a table ----------------------

    def _known(self, ids: np.ndarray) -> np.ndarray:
        return (ids >= 0) & (ids < self.vocab_size)

    def _table_gradient(self, ids: np.ndarray, drows: np.ndarray) -> Columns:
        """Clipped gradient of an input weight: column ids[t] += drows[t]."""
        distinct, place = np.unique(ids, return_inverse=True)
        rows = np.zeros((len(distinct), self.hidden_size))
        kernels(DTYPE).scatter_add_rows(drows, place, rows)
        return Columns((self.hidden_size, self.vocab_size), distinct, self._clipped(rows))

    def _clipped(self, gradient: np.ndarray) -> np.ndarray:
        return np.clip(gradient, -self.clip_value, self.clip_value, out=gradient)

    # -- softmax layer ---------------------------------------------------------------------

    def _loss(self, h: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss, and d loss / d logits of shape (T, V). A target of −1 contributes to neither.

        The gradient is that of plain cross-entropy, softmax − onehot; the 1e-12 in the loss
        only protects the logarithm.
        """
        k, T = kernels(DTYPE), len(targets)
        logits, losses = np.empty((T, self.vocab_size)), np.empty(T)
        k.matmul(h, self.V.T, logits, self.c.ravel(), False)
        k.softmax_cross_entropy(logits, targets, 1.0, losses, logits)
        p = np.exp(-losses[targets >= 0])
        return float(np.sum(-np.log(p + LOSS_EPSILON))), logits

    def _head_backward(self, cache: Cache) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradients of the states, of shape (T, H), and clipped ones of V and c."""
        k, h, dlogits = kernels(DTYPE), cache.call.y, cache.dlogits
        dh, dV = np.empty_like(h), np.empty_like(self.V)
        k.matmul(dlogits, self.V, dh, None, False)  # dh = dlogits @ V
        k.matmul(dlogits.T, h, dV, None, False)  # dV = dlogitsᵀ @ h
        return dh, self._clipped(dV), self._bias_gradient(dlogits)

    def _bias_gradient(self, drows: np.ndarray) -> np.ndarray:
        """Clipped sum of the rows, as a column."""
        total = np.zeros(drows.shape[1])
        kernels(DTYPE).sum_rows(drows, total)
        return self._clipped(total[:, None])

    # -- sampling --------------------------------------------------------------------------

    def _sample(self, seed_ix: int, n: int, step: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        """Draw n tokens, each the input of the next `step`, from ids (1,) to a state (H,)."""
        ids = indices("seed_ix", [seed_ix])
        check_range("seed_ix", ids, self.vocab_size)
        tokens: list[int] = []
        for _ in range(n):
            logits = self.V @ step(ids) + self.c[:, 0]
            ids[0] = pick(logits, random.random())
            tokens.append(int(ids[0]))
        return tokens


def pick(logits: np.ndarray, uniform: float) -> int:
    """The first index whose cumulative probability exceeds `uniform`, 0 if none does."""
    p = np.exp(logits - logits.max())
    p /= p.sum()
    index = int(np.searchsorted(np.cumsum(p), uniform, side="right"))
    return index if index < len(p) else 0


def window(inputs: Sequence[int], targets: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets as ids."""
    ids, goals = indices("inputs", inputs), indices("targets", targets)
    if len(ids) != len(goals):
        raise ValueError(f"targets: expected {len(ids)} as there are inputs, got {len(goals)}")
    return ids, goals


def indices(name: str, values: Sequence[int]) -> np.ndarray:
    """A list of integers as an array of shape (T,), int64."""
    ids = np.array(values)
    if ids.ndim != 1:
        raise ValueError(f"{name}: expected a flat list, got shape {ids.shape}")
    if ids.size and ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {ids.dtype}")
    return ids.astype(np.int64)


def check_range(name: str, ids: np.ndarray, size: int) -> None:
    """IndexError unless 0 <= id < size for each of the ids."""
    wrong = np.flatnonzero((ids < 0) | (ids >= size))
    if wrong.size:
        at = int(wrong[0])
        raise IndexError(f"{name}: expected 0 <= id < {size}, got {ids[at]} at position {at}")


def as_column(state: np.ndarray) -> list[list[float]]:
    """A state of shape (1, H) as nested lists of shape (H, 1)."""
    column: list[list[float]] = state.T.tolist()
    return column
