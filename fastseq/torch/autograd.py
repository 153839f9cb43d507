"""One call of recurrent layers as a node of PyTorch's autograd graph.

a. PyTorch owns parameters, inputs, outputs and gradients: kernels read and write them in place.
b. All that the backward pass needs goes through `save_for_backward`, so that PyTorch notices
   changes in place, frees it with the graph, and may replace it (checkpoints, offloading).
c. The kernels' backward pass overwrites what the forward pass has saved: where the graph is
   kept for another one, it gets copies.
d. A gradient that itself needs a gradient, or many at once (`is_grads_batched`), are recomputed
   by PyTorch's own functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from .._kernels.records import LayerCall, Saved
from ..nn.stack import Stack, StackCall
from .calls import Call, Inputs, as_rows, empty_like_x, initial_states, input_rows, with_layers
from .network import Network, network_of
from .replay import replay

# y, h_n, c_n; of one step there is no y, of most cells no c_n. Their gradients, too.
Outputs = tuple[Tensor | None, Tensor | None, Tensor | None]


def run(call: Call, network: Network, inputs: Inputs) -> Outputs:
    """Run all layers; the weights are contiguous."""
    if torch.is_grad_enabled() and inputs.requires_grad:
        x, batch_sizes, h0, c0, weights = inputs
        outputs: Outputs = _Recurrent.apply(call, network, x, batch_sizes, h0, c0, *weights)
        return outputs
    return _forward(call, network, inputs, save=False)[0]


class _Recurrent(Function):
    @staticmethod
    def forward(ctx: Any, call: Call, network: Network, *tensors: Any) -> Outputs:
        x, batch_sizes, h0, c0, *weights = tensors
        inputs = Inputs(x, batch_sizes, h0, c0, weights)
        outputs, record = _forward(call, network, inputs, save=True)
        saved, ctx.present = _pack(record)
        ctx.call, ctx.batch_sizes, ctx.own_tensors = call, batch_sizes, 3 + len(weights)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h0, c0, *weights, *saved)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        tensors, end = ctx.saved_tensors, ctx.own_tensors
        x, h0, c0 = tensors[:3]
        inputs = Inputs(x, ctx.batch_sizes, h0, c0, tensors[3:end])
        saved = _unpack(tensors[end:], ctx.present, ctx.call.directions)
        if torch.is_grad_enabled() or any(map(_is_batched, gradients)):
            masks = [layer.mask for layer in saved]
            return None, None, *replay(ctx.call, inputs, masks, gradients)
        if _graph_is_kept():
            saved = [layer.with_copies() for layer in saved]
        wanted = ctx.needs_input_grad[2:]
        return None, None, *_backward(ctx.call, inputs, saved, gradients, wanted)


def _is_batched(gradient: Tensor | None) -> bool:
    """Whether a gradient stands for many, as `is_grads_batched` makes them."""
    return gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient)


# Whether another backward pass may go through the graph.
_graph_is_kept = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


def _forward(
    call: Call, network: Network, inputs: Inputs, save: bool
) -> tuple[Outputs, StackCall]:
    stack, (rows, batch) = network.stack, input_rows(call, inputs)
    y = None if call.single_step else empty_like_x(call, inputs.x, stack.output_width)
    h_n = torch.empty_like(inputs.h0, memory_format=torch.contiguous_format)
    c_n = None
    if inputs.c0 is not None:
        c_n = torch.empty_like(inputs.c0, memory_format=torch.contiguous_format)
    # What is saved is an array of its own: the caller may change y in place.
    out = (
        stack.empty_output(batch[0]) if y is None or save else as_rows(call, y.numpy()),
        with_layers(call, h_n),
        None if c_n is None else with_layers(call, c_n),
    )
    dropout = (call.dropout,) * (call.num_layers - 1)
    states = initial_states(call, inputs)
    top, _, record = stack.forward(rows, states, batch, save, dropout, _draw_mask, out=out)
    if y is not None and save:
        np.copyto(as_rows(call, y.numpy()), top)
    return (y, h_n, c_n), record


def _draw_mask(p: float, mask: np.ndarray) -> np.ndarray:
    """Factors of dropout, from the random numbers that PyTorch's own layers would take."""
    if p == 1.0:
        mask.fill(0)
    else:
        torch.from_numpy(mask).bernoulli_(1 - p).div_(1 - p)
    return mask


def _backward(
    call: Call,
    inputs: Inputs,
    saved: list[SavedLayer],
    gradients: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of x, batch_sizes (None), h0, c0 and the weights."""
    # Of the weights as they were saved: a checkpoint may have restored them.
    network = network_of(call, inputs.weights)
    dweights = network.gradients(inputs.weights, wanted[4:])
    dy, dh, dc = gradients
    dh0, dc0 = _state_gradient(dh, inputs.h0), None
    if inputs.c0 is not None:
        dc0 = _state_gradient(dc, inputs.c0)
    dx = empty_like_x(call, inputs.x, inputs.x.shape[-1]) if wanted[0] else None
    dstates = with_layers(call, dh0), None if dc0 is None else with_layers(call, dc0)
    network.stack.backward(
        _restored(call, inputs, network.stack, saved, dstates),
        None if dy is None else as_rows(call, dy.resolve_neg().numpy()),
        dstates,
        None if dx is None else as_rows(call, dx.numpy()),
        accumulate=False,
        weights=dweights.records,
    )
    return dx, None, dh0 if wanted[2] else None, dc0 if wanted[3] else None, *dweights.tensors


def _state_gradient(gradient: Tensor | None, state: Tensor) -> Tensor:
    """A fresh tensor: the gradient of a final state, which becomes that of the initial one."""
    if gradient is None:
        return torch.zeros(state.shape, dtype=state.dtype)
    return gradient.clone(memory_format=torch.contiguous_format)


# -- what is saved ------------------------------------------------------------------------------


class SavedLayer(NamedTuple):
    """What one layer has saved for its backward pass.

    Attributes
    ----------
    x : ndarray of shape (N, ·) or None
        None: the output of the layer below.
    y : ndarray of shape (N, D·P)
    mask : ndarray of shape (N, D·P) or None
        Factors of dropout on y.
    directions : list of Saved
    """

    x: np.ndarray | None
    y: np.ndarray
    mask: np.ndarray | None
    directions: list[Saved]

    def with_copies(self) -> SavedLayer:
        """With copies of what a backward pass overwrites."""
        return self._replace(
            directions=[
                one._replace(
                    gates=one.gates.copy(), inner=None if one.inner is None else one.inner.copy()
                )
                for one in self.directions
            ]
        )


def _pack(record: StackCall) -> tuple[list[Tensor], list[bool]]:
    """The arrays of `SavedLayer` for each layer as tensors; for each place, whether it has one."""
    arrays: list[np.ndarray | None] = []
    for number, calls in enumerate(record.calls):
        from_below = number > 0 and record.masks[number - 1] is None
        arrays += [None if from_below else calls[0].x, record.outputs[number]]
        arrays.append(record.masks[number])
        for one in calls:
            assert one.saved is not None
            arrays += one.saved
    present = [array is not None for array in arrays]
    return [torch.from_numpy(array) for array in arrays if array is not None], present


def _unpack(tensors: Sequence[Tensor], present: list[bool], directions: int) -> list[SavedLayer]:
    """The inverse of `_pack`."""
    source, each = iter(tensors), len(Saved._fields)
    arrays: list[Any] = [next(source).numpy() if there else None for there in present]
    layers = []
    for start in range(0, len(arrays), 3 + directions * each):
        x, y, mask, *rest = arrays[start : start + 3 + directions * each]
        kept = [Saved(*rest[at : at + each]) for at in range(0, len(rest), each)]
        layers.append(SavedLayer(x, y, mask, kept))
    return layers


def _restored(
    call: Call,
    inputs: Inputs,
    stack: Stack,
    saved: list[SavedLayer],
    final: tuple[np.ndarray, np.ndarray | None],
) -> StackCall:
    """The record of the forward call. Of the final states only shapes are read."""
    states, sizes = initial_states(call, inputs), inputs.batch_sizes
    batch_sizes = None if sizes is None else sizes.numpy()
    calls: list[list[LayerCall]] = []
    below = None
    for number, (layer, kept) in enumerate(zip(stack.layers, saved, strict=True)):
        x = below if kept.x is None else kept.x
        calls.append([])
        for d, one in enumerate(layer):
            k = number * call.directions + d
            h0, c0 = (None if a is None else a[k] for a in states)
            h_n, c_n = (None if a is None else a[k] for a in final)
            y = kept.y[:, d * one.output_size : (d + 1) * one.output_size]
            assert h_n is not None
            calls[-1].append(
                LayerCall(
                    call.cell.id, x, one.weights(), h0, c0, batch_sizes, one.reverse,
                    y, h_n, c_n, kept.directions[d],
                )
            )  # fmt: skip
        below = kept.y
    source = saved[0].x
    assert source is not None
    return StackCall(source, [s.y for s in saved], calls, [s.mask for s in saved])
