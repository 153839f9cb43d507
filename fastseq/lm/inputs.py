"""From tokens to the first layer's input projection, and back.

One-hot vectors are never formed: the product of one with a weight is a row of the weight. `OneHot`
gathers rows of w_ihᵀ. `Embedded` chooses between two orders::

    table    gather(E @ w_ihᵀ + b, ids)      V rows to multiply
    rows     gather(E, ids) @ w_ihᵀ + b      T·B rows to multiply, and dropout can come between

Both make an `nn.stack.InputProjection` for each call, which holds what its backward pass needs.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._kernels.records import Saved
from ..backend import kernels
from ..nn.buffers import pooled_empty
from ..nn.dropout import draw_mask
from ..nn.parameter import Parameter
from ..nn.recurrence import Recurrence, bias_gradients, input_bias, project
from ..nn.stack import InputProjection

Ids = NDArray[np.int64]
Floats = NDArray[Any]


class TokenInput(Protocol):
    """How tokens enter the first layer."""

    def read(self, ids: Ids, rng: np.random.Generator | None) -> InputProjection:
        """The input projection of some tokens; rng draws dropout, None drops nothing."""

    def table(self, layer: Recurrence) -> Floats:
        """The input projection of every token, of shape (V, G·H)."""


class OneHot:
    """The first layer reads one-hot tokens: its weight, stored (V, G·H), is a table of rows."""

    def __init__(self, weight: Parameter) -> None:
        self.weight = weight
        self.rows = SparseRows(weight)

    def read(self, ids: Ids, rng: np.random.Generator | None) -> InputProjection:
        return _OneHotCall(self, ids)

    def table(self, layer: Recurrence) -> Floats:
        bias = input_bias(layer)
        assert bias is not None
        table: Floats = self.weight.data + bias
        return table


class _OneHotCall:
    """One call: onehot(ids) @ w_ihᵀ + bias."""

    def __init__(self, source: OneHot, ids: Ids) -> None:
        self.source, self.ids = source, ids

    def forward(self, layer: Recurrence, out: Floats) -> None:
        weight = self.source.weight.data
        kernels(layer.dtype).gather_rows(weight, self.ids, input_bias(layer), out)

    def backward(self, layer: Recurrence, saved: Saved, accumulate: bool) -> None:
        self.source.rows.start(self.ids, accumulate)
        weight = self.source.weight
        kernels(layer.dtype).scatter_add_rows(saved.gates, self.ids, weight.grad)
        bias_gradients(layer, saved.gates, saved.inner, accumulate)


class Embedded:
    """The first layer reads rows of an embedding.

    Parameters
    ----------
    embedding : Parameter of shape (V, E)
    tied : bool
        The softmax layer has already written its gradient to the shared embedding.
    dropout : float
        Probability with which an element of an embedded token is dropped.
    """

    def __init__(self, embedding: Parameter, tied: bool, dropout: float) -> None:
        self.embedding, self.tied, self.dropout = embedding, tied, dropout
        self.rows = SparseRows(embedding)

    def read(self, ids: Ids, rng: np.random.Generator | None) -> InputProjection:
        drops = rng is not None and self.dropout > 0.0
        if not drops and len(self.embedding.data) <= len(ids):
            return _TableCall(self, ids)
        return _RowsCall(self, ids, rng if drops else None)

    def table(self, layer: Recurrence) -> Floats:
        table: Floats = np.empty((len(self.embedding.data), layer.width), layer.dtype)
        project(self.embedding.data, layer, table)
        return table


class _TableCall:
    """One call: gather(E @ w_ihᵀ + bias, ids)."""

    def __init__(self, source: Embedded, ids: Ids) -> None:
        self.source, self.ids = source, ids

    def forward(self, layer: Recurrence, out: Floats) -> None:
        table = pooled_empty((len(self.source.embedding.data), layer.width), layer.dtype)
        project(self.source.embedding.data, layer, table)
        kernels(layer.dtype).gather_rows(table, self.ids, None, out)

    def backward(self, layer: Recurrence, saved: Saved, accumulate: bool) -> None:
        k, embedding, w_ih = kernels(layer.dtype), self.source.embedding, layer.w_ih
        assert w_ih is not None
        dtable = pooled_empty((len(embedding.data), layer.width), layer.dtype)
        dtable.fill(0)
        k.scatter_add_rows(saved.gates, self.ids, dtable)
        self.source.rows.start_all()
        k.matmul(dtable.T, embedding.data, w_ih.grad, None, accumulate)
        add = accumulate or self.source.tied
        k.matmul(dtable, w_ih.data, embedding.grad, None, add)
        bias_gradients(layer, dtable, saved.inner, accumulate)  # the same sum in fewer rows


class _RowsCall:
    """One call: dropout(gather(E, ids)) @ w_ihᵀ + bias."""

    def __init__(self, source: Embedded, ids: Ids, rng: np.random.Generator | None) -> None:
        self.source, self.ids, self._mask = source, ids, None
        shape = len(ids), source.embedding.shape[1]
        self._x = pooled_empty(shape, source.embedding.dtype)
        if rng is not None:
            self._mask = draw_mask(rng, source.dropout, pooled_empty(shape, self._x.dtype))

    def forward(self, layer: Recurrence, out: Floats) -> None:
        embedding = self.source.embedding.data
        kernels(layer.dtype).gather_rows(embedding, self.ids, None, self._x)
        if self._mask is not None:
            self._x *= self._mask
        project(self._x, layer, out)

    def backward(self, layer: Recurrence, saved: Saved, accumulate: bool) -> None:
        k, embedding, w_ih = kernels(layer.dtype), self.source.embedding, layer.w_ih
        assert w_ih is not None
        dx = pooled_empty(self._x.shape, layer.dtype)
        k.matmul(saved.gates.T, self._x, w_ih.grad, None, accumulate)
        k.matmul(saved.gates, w_ih.data, dx, None, False)
        if self._mask is not None:
            dx *= self._mask
        self.source.rows.start(self.ids, accumulate)
        k.scatter_add_rows(dx, self.ids, embedding.grad)
        bias_gradients(layer, saved.gates, saved.inner, accumulate)


class SparseRows:
    """Records which rows of one gradient are not zero.

    The gradient of a parameter that is not row-sparse (a tied embedding, whose gradient the
    softmax layer has begun to write) is left as it is.
    """

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self._sparse = parameter.rows is not None
        self._every = np.arange(parameter.shape[0])
        self._marks = np.zeros(parameter.shape[0], np.uint8)
        self._found = np.empty(parameter.shape[0], np.int64)

    def start(self, ids: Ids, accumulate: bool) -> None:
        """Prepare to add to rows `ids`: clear stale rows, then record these."""
        if not self._sparse:
            return
        if not accumulate:
            self.parameter.zero_grad()
        if len(ids) >= len(self._marks):  # nearly all rows: looking for them would not pay
            self.parameter.rows = self._every
            return
        if accumulate:
            ids = np.concatenate([self.parameter.rows, ids])
        count = kernels(self.parameter.dtype).unique_ids(ids, self._marks, self._found)
        self.parameter.rows = self._found[:count]

    def start_all(self) -> None:
        """Prepare to write a gradient to every row."""
        if self._sparse:
            self.parameter.rows = self._every
