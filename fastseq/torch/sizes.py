"""Sizes at which PyTorch's own functions are faster."""

from __future__ import annotations

from .calls import Call, Inputs


def torch_is_faster(call: Call, inputs: Inputs) -> bool:
    return False
