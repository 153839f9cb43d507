"""Backward passes that kernels cannot make: the call once more, by PyTorch's own functions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .calls import Call, Inputs

NATIVE = torch._C._VariableFunctions


def replay(
    call: Call,
    inputs: Inputs,
    masks: Sequence[np.ndarray | None],
    gradients: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """Gradients of x, batch_sizes (None), h0, c0 and the weights.

    Where gradients are enabled, the result has a graph of its own.

    Parameters
    ----------
    call : Call
    inputs : Inputs
    masks : sequence of ndarray of shape (N, D·P), or None
        By layer: the factors of dropout that the call has drawn.
    gradients : sequence of Tensor or None
        Of y, h_n and c_n.
    """
    tensors = [inputs.x, inputs.h0, inputs.c0, *inputs.weights]
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad(), _without_onednn:
        # Views, so that the graph of this pass ends here and not at the caller's tensors.
        views = [t if t is None else t.view_as(t) for t in tensors]
        x, h0, c0, *weights = views
        assert x is not None
        assert h0 is not None
        outputs = _forward(call, Inputs(x, inputs.batch_sizes, h0, c0, weights), masks)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None]
        wanted = [v for v in views if v is not None and v.requires_grad]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], wanted, [g for _, g in pairs],
                create_graph=create_graph, allow_unused=True,
            )
        )  # fmt: skip
    dx, dh, dc, *dweights = [
        next(found) if v is not None and v.requires_grad else None for v in views
    ]
    return dx, None, dh, dc, *dweights


class _WithoutOneDNN:
    """Keeps PyTorch from using oneDNN's layers, which have no second derivative.

    The switch is that of the process, so the last of several threads puts it back.
    `torch.backends.mkldnn.flags` would warn of an option that it only hands on.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = torch._C._get_mkldnn_enabled()
                torch._C._set_mkldnn_enabled(False)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                torch._C._set_mkldnn_enabled(self._before)


_without_onednn = _WithoutOneDNN()


def _forward(
    call: Call, inputs: Inputs, masks: Sequence[np.ndarray | None]
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    if call.single_step:
        return _single_step(call, inputs)
    x, batch_sizes, h0, c0, weights = inputs
    if call.batch_first:
        x = x.transpose(0, 1)
    ends, each, D = [], len(weights) // call.num_layers, call.directions
    for number, mask in enumerate(masks):
        states = [s[number * D : (number + 1) * D] for s in (h0, c0) if s is not None]
        own = weights[number * each : (number + 1) * each]
        x, *end = _layer(call, x, batch_sizes, states, own)
        ends.append(end)
        if mask is not None:
            x = x * torch.from_numpy(mask).view(x.shape)
    h_n, *c_n = (torch.cat(parts) for parts in zip(*ends, strict=True))
    y = x.transpose(0, 1) if call.batch_first else x
    return y, h_n, c_n[0] if c_n else None


def _layer(
    call: Call, x: Tensor, batch_sizes: Tensor | None, states: list[Tensor], weights: Any
) -> tuple[Tensor, ...]:
    function = getattr(NATIVE, call.cell.name)
    hx = tuple(states) if call.cell.has_c else states[0]
    options = call.has_biases, 1, 0.0, False, call.directions == 2
    result: tuple[Tensor, ...]
    if batch_sizes is None:
        result = function(x, hx, weights, *options, False)
    else:
        result = function(x, batch_sizes, hx, weights, *options)
    return result


def _single_step(call: Call, inputs: Inputs) -> tuple[None, Tensor, Tensor | None]:
    function = getattr(NATIVE, f"{call.cell.name}_cell")
    if inputs.c0 is None:
        return None, function(inputs.x, inputs.h0, *inputs.weights), None
    h, c = function(inputs.x, (inputs.h0, inputs.c0), *inputs.weights)
    return None, h, c
