"""One call of PyTorch's recurrent functions: what it computes, and its tensors as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._kernels.cells import Cell
from ..nn.checks import as_kernel_array

Batch = tuple[int, int, np.ndarray | None]  # rows, sequences, batch_sizes: see `Stack.forward`


class Call(NamedTuple):
    """What a call computes, apart from its tensors.

    Attributes
    ----------
    cell : Cell
    num_layers, directions : int
    has_biases, projects : bool
    dropout : float
        Between layers; 0 in eval mode.
    batch_first : bool
        Whether x and y are (B, T, ·).
    single_step : bool
        x is one step (B, I), the states are (B, ·), and there is no y.
    """

    cell: Cell
    num_layers: int
    directions: int
    has_biases: bool
    projects: bool = False
    dropout: float = 0.0
    batch_first: bool = False
    single_step: bool = False

    def groups(self, weights: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """The weights of each layer and direction."""
        size = len(weights) // (self.num_layers * self.directions)
        return (weights[start : start + size] for start in range(0, len(weights), size))


class Inputs(NamedTuple):
    """The tensors of a call.

    Attributes
    ----------
    x : Tensor of shape (T, B, I) or (B, T, I), of packed sequences (N, I), of one step (B, I)
    batch_sizes : Tensor of int64 of shape (T,), or None
        Of packed sequences.
    h0 : Tensor of shape (K, B, P), of one step (B, P)
    c0 : Tensor of shape (K, B, H), of one step (B, H), or None unless the cell has a cell state
    weights : sequence of Tensor
        By layer and direction: w_ih, w_hh, b_ih, b_hh, w_hr, as far as there are any.
    """

    x: Tensor
    batch_sizes: Tensor | None
    h0: Tensor
    c0: Tensor | None
    weights: Sequence[Tensor]

    @property
    def requires_grad(self) -> bool:
        """Whether any tensor asks for its gradient."""
        return (
            self.x.requires_grad
            or self.h0.requires_grad
            or (self.c0 is not None and self.c0.requires_grad)
            or any(w.requires_grad for w in self.weights)
        )


def numbers(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor, in place."""
    return tensor.detach().numpy()


def readable(array: np.ndarray) -> np.ndarray:
    """The array itself where kernels can read it, or a copy."""
    return as_kernel_array(array, array.dtype)


def input_rows(call: Call, inputs: Inputs) -> tuple[np.ndarray, Batch]:
    """x as rows of packed sequences."""
    x = numbers(inputs.x)
    if inputs.batch_sizes is not None:
        sizes = readable(inputs.batch_sizes.numpy())
        return readable(x), (len(x), int(sizes[0]), sizes)
    if call.single_step:
        return readable(x), (len(x), len(x), None)
    rows = as_rows(call, x)
    return rows, (len(rows), x.shape[0 if call.batch_first else 1], None)


def as_rows(call: Call, array: np.ndarray) -> np.ndarray:
    """An array like x as rows (N, ·); a copy unless its steps follow each other in memory."""
    if array.ndim == 3 and call.batch_first:
        array = array.swapaxes(0, 1)
    return readable(array).reshape(-1, array.shape[-1])


def with_layers(call: Call, state: Tensor) -> np.ndarray:
    """A state as (K, B, ·), in place."""
    return numbers(state)[None] if call.single_step else numbers(state)


def initial_states(call: Call, inputs: Inputs) -> tuple[np.ndarray, np.ndarray | None]:
    """h0 and c0 as `Stack` takes them."""
    h0, c0 = inputs.h0, inputs.c0
    return readable(with_layers(call, h0)), None if c0 is None else readable(with_layers(call, c0))


def empty_like_x(call: Call, x: Tensor, width: int) -> Tensor:
    """A tensor (T, B, width), (B, T, width) or (N, width), whose memory is time-major."""
    if x.dim() == 3 and call.batch_first:
        B, T = x.shape[:2]
        return torch.empty_strided((B, T, width), (width, B * width, 1), dtype=x.dtype)
    return torch.empty((*x.shape[:-1], width), dtype=x.dtype)
