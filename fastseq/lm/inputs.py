"""From tokens to the input share of the first layer's gates, and back.

A token is a number, so no one-hot vector is ever multiplied: its product with a weight is a
row of the weight. `OneHot` gathers rows of w_ihᵀ. `Embedded` chooses between two orders::

    table    gather(E @ w_ihᵀ + b, ids)      V rows to multiply
    rows     gather(E, ids) @ w_ihᵀ + b      T·B rows to multiply, and dropout can come between
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import kernels
from ..nn.buffers import Buffers
from ..nn.cells import project, project_backward
from ..nn.module import Parameter
from .dropout import Dropout

Ids = NDArray[np.int64]
Floats = NDArray[Any]


class OneHot:
    """The first layer reads one-hot tokens: its weight, stored (V, G·H), is a table of rows."""

    def __init__(self, weight: Parameter) -> None:
        self.weight = weight
        self._rows = SparseRows(weight)

    def forward(self, ids: Ids, bias: Floats | None, rows: Floats, training: bool) -> None:
        """rows = onehot(ids) @ w_ihᵀ + bias."""
        kernels(self.weight.dtype).gather_rows(self.weight.data, ids, bias, rows)

    def backward(self, ids: Ids, drows: Floats, accumulate: bool) -> Floats:
        """dw_ihᵀ[ids] += drows. Return rows that add up to what `drows` does."""
        self._rows.start(ids, accumulate)
        kernels(self.weight.dtype).scatter_add_rows(drows, ids, self.weight.grad)
        return drows

    def table(self, bias: Floats) -> Floats:
        """What each token sends to the gates, of shape (V, G·H)."""
        table: Floats = self.weight.data + bias
        return table


class Embedded:
    """The first layer reads rows of an embedding.

    Parameters
    ----------
    embedding : Parameter of shape (V, E)
    weight : Parameter of shape (G·H, E)
    tied : bool
        The softmax layer has written its gradient into the embedding's already.
    dropout : Dropout
        Between embedding and layer.
    buffers : Buffers
    """

    def __init__(
        self,
        embedding: Parameter,
        weight: Parameter,
        tied: bool,
        dropout: Dropout,
        buffers: Buffers,
    ) -> None:
        self.embedding, self.weight, self.tied = embedding, weight, tied
        self.dropout, self._buffers = dropout, buffers
        self._rows = SparseRows(embedding)
        self._x: Floats | None = None

    def forward(self, ids: Ids, bias: Floats | None, rows: Floats, training: bool) -> None:
        """rows = dropout(E[ids]) @ w_ihᵀ + bias."""
        k = kernels(self.weight.dtype)
        drops = training and self.dropout.p > 0.0
        if not drops and len(self.embedding.data) <= len(ids):
            self._x = None
            table = self._buffers("table", len(self.embedding.data), rows.shape[1])
            project(self.embedding.data, self.weight, bias, table)
            k.gather_rows(table, ids, None, rows)
            return
        x = self._buffers("embedded", len(ids), self.embedding.shape[1])
        k.gather_rows(self.embedding.data, ids, None, x)
        self._x = self.dropout.forward(x, training)
        project(self._x, self.weight, bias, rows)

    def backward(self, ids: Ids, drows: Floats, accumulate: bool) -> Floats:
        """Gradients of embedding and weight, by the order that `forward` took.

        Return rows, as few as there are, that add up to what `drows` does.
        """
        k, embedding = kernels(self.weight.dtype), self.embedding
        if self._x is None:
            dtable = self._buffers("table", len(embedding.data), drows.shape[1])
            dtable.fill(0)
            k.scatter_add_rows(drows, ids, dtable)
            self._rows.start_all()
            add = accumulate or self.tied
            project_backward(dtable, embedding.data, self.weight, embedding.grad, add, accumulate)
            return dtable
        dx = self._buffers("dembedded", len(ids), embedding.shape[1])
        project_backward(drows, self._x, self.weight, dx, False, accumulate)
        self.dropout.backward(dx)
        self._rows.start(ids, accumulate)
        k.scatter_add_rows(dx, ids, embedding.grad)
        return drows

    def table(self, bias: Floats) -> Floats:
        """What each token sends to the gates, of shape (V, G·H)."""
        table = np.empty((len(self.embedding.data), len(bias)), self.weight.dtype)
        project(self.embedding.data, self.weight, bias, table)
        return table


class SparseRows:
    """Keeps account of the rows of one gradient that are not zero.

    Of a parameter that is not row-sparse (a tied embedding, whose gradient the softmax layer
    has begun to write) it leaves the gradient alone.
    """

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self._sparse = parameter.rows is not None
        self._every = np.arange(parameter.shape[0])
        self._marks = np.zeros(parameter.shape[0], np.uint8)
        self._found = np.empty(parameter.shape[0], np.int64)

    def start(self, ids: Ids, accumulate: bool) -> None:
        """Prepare for adding to rows `ids`: clear what is not to be added to, note the rest."""
        if not self._sparse:
            return
        if not accumulate:
            self.parameter.zero_grad()
        if len(ids) >= len(self._marks):  # nearly all rows: looking for them would not pay
            self.parameter.rows = self._every
            return
        if accumulate:
            ids = np.concatenate([self.parameter.rows, ids])
        count = kernels(self.parameter.dtype).distinct_ids(ids, self._marks, self._found)
        self.parameter.rows = self._found[:count]

    def start_all(self) -> None:
        """Prepare for a gradient in every row."""
        if self._sparse:
            self.parameter.rows = self._every
