"""Sizes at which PyTorch's own functions are faster, measured by benchmarks/torch_layers.py.

A call of few steps spends most of its time outside of arithmetic, and PyTorch's functions start
sooner. Each limit is a number of multiply-adds, from which a step is faster on the kernels
nevertheless.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch

from .._kernels.cells import Cell

FEW_STEPS = 5  # from which on the kernels are never slower by more than the measurement's noise

# By family of cells: limits of a cell class, which makes one step, in inference. In training its
# steps are never faster on the kernels.
CELL_LIMIT = {"lstm": 4e6, "gru": 6e6, "rnn": 4e6}
# Limits of a layer's call of one step, and of few steps, in inference and in training.
ONE_STEP = {"gru": (9e4, inf), "rnn": (4e6, inf)}
FEW = {"rnn": (4e6, inf)}


def is_short_step(cell: Cell, args: Any) -> bool:
    """Whether PyTorch is faster at a cell's step (x, hx, w_ih, w_hh, …)."""
    if torch.is_grad_enabled():
        return True
    try:
        x, _, w_ih, w_hh, *_ = args
        return len(x) * (w_ih.numel() + w_hh.numel()) < CELL_LIMIT[cell.family]
    except (AttributeError, IndexError, TypeError, ValueError):
        return True  # PyTorch refuses these arguments


def is_short_call(cell: Cell, args: Any) -> bool:
    """Whether PyTorch is faster at a layer's call (x, hx, weights, …, batch_first).

    Of packed sequences, (x, batch_sizes, hx, weights, …), it never is.
    """
    if cell.has_c:  # it takes oneDNN's layers, which start late
        return False
    try:
        x, _, weights, *_, batch_first = args
        steps, B = x.shape[1 if batch_first else 0], x.shape[0 if batch_first else 1]
        limits = (ONE_STEP if steps == 1 else FEW).get(cell.family)
        if steps >= FEW_STEPS or limits is None or isinstance(weights, torch.Tensor):
            return False
        training = torch.is_grad_enabled() and (x.requires_grad or weights[0].requires_grad)
        return B * (weights[0].numel() + weights[1].numel()) < limits[training]
    except (AttributeError, IndexError, TypeError, ValueError):
        return True
