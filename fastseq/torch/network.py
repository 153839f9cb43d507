"""Recurrent layers over the memory of PyTorch's weights."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._kernels.records import Weights
from ..nn.recurrence import Recurrence
from ..nn.stack import Stack
from .calls import Call

DTYPES = (torch.float32, torch.float64)
PLAIN = (Tensor, torch.nn.Parameter)


class Network:
    """The layers of a call, which read PyTorch's weights in place.

    Parameters
    ----------
    call : Call
    weights : sequence of Tensor
        By layer and direction: w_ih, w_hh, b_ih, b_hh, w_hr, as far as there are any.

    Attributes
    ----------
    obstacle : str or None
        What keeps kernels from reading these weights; without one, there are the following.
    stack : Stack
    dtype : torch.dtype
    input_size, hidden_size, output_size : int
        I, H and P.
    """

    stack: Stack

    def __init__(self, call: Call, weights: Sequence[Tensor]) -> None:
        self.obstacle = next(filter(None, map(tensor_obstacle, weights)), None)
        if self.obstacle is None and not _shapes_agree(call, weights):
            self.obstacle = "weights that PyTorch has to refuse"
        if self.obstacle is not None:
            return
        self.dtype, self._call = weights[0].dtype, call
        self.input_size, self.output_size = weights[0].shape[1], weights[1].shape[1]
        self.hidden_size = weights[1].shape[0] // len(call.cell.gates)
        self.stack = _stack(call, weights)

    def gradients(self, weights: Sequence[Tensor], wanted: Sequence[bool]) -> _Gradients:
        """Fresh tensors for the gradients of the weights that are wanted.

        Raises
        ------
        RuntimeError
            Kernels can no longer read the weights: their type or shape has changed.
        """
        if self.obstacle is not None:
            raise RuntimeError(
                "backward: the weights of a recurrent layer have changed their type or shape "
                f"since the forward call ({self.obstacle})"
            )
        return _Gradients(self._call, weights, wanted)


class _Gradients:
    """Tensors for gradients: PyTorch's list of them, and the kernels' records."""

    def __init__(self, call: Call, weights: Sequence[Tensor], wanted: Sequence[bool]) -> None:
        self.tensors = [
            torch.empty(w.shape, dtype=w.dtype) if want else None
            for w, want in zip(weights, wanted, strict=True)
        ]
        arrays = [None if t is None else t.numpy() for t in self.tensors]
        self.records = [as_weights(call, own) for own in call.groups(arrays)]


def as_weights(call: Call, own: Sequence[Any]) -> Weights:
    """The arrays of one layer and direction under their names."""
    b_ih, b_hh = own[2:4] if call.has_biases else (None, None)
    return Weights(own[0], own[1], b_ih, b_hh, own[-1] if call.projects else None)


class _Weight:
    """A weight as `Recurrence` reads it; gradients go elsewhere."""

    __slots__ = ("data", "grad", "requires_grad")
    grad: np.ndarray

    def __init__(self, tensor: Tensor) -> None:
        # Not `numpy()`, after which a storage can no longer be resized, as FSDP does.
        self.data, self.requires_grad = np.from_dlpack(tensor.detach()), False


def _stack(call: Call, weights: Sequence[Tensor]) -> Stack:
    layers: list[list[Recurrence]] = []
    for k, own in enumerate(call.groups([_Weight(tensor) for tensor in weights])):
        reverse = k % call.directions == 1
        if not reverse:
            layers.append([])
        parameters: Any = as_weights(call, own)
        layers[-1].append(Recurrence(call.cell, reverse, *parameters))
    return Stack(layers)


# -- checks -------------------------------------------------------------------------------------


def tensor_obstacle(tensor: Tensor) -> str | None:
    """What keeps kernels from reading a tensor of some type of numbers."""
    if type(tensor) not in PLAIN:
        return f"a tensor of type {type(tensor).__name__}"
    if not tensor.is_cpu:
        return f"device {tensor.device.type}"
    if tensor.dtype not in DTYPES:
        return f"dtype {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.layout != torch.strided or tensor.is_neg():
        return "a layout of memory that kernels do not read"
    return None


def _shapes_agree(call: Call, weights: Sequence[Tensor]) -> bool:
    K, G = call.num_layers * call.directions, len(call.cell.gates)
    each = 2 + 2 * call.has_biases + call.projects
    if K < 1 or len(weights) != K * each or weights[0].dim() != 2 or weights[1].dim() != 2:
        return False
    (GH, P), size = weights[1].shape, weights[0].shape[1]
    H = GH // G
    for k, own in enumerate(call.groups(weights)):
        width = size if k < call.directions else call.directions * P
        shapes = [(GH, width), (GH, P), *[(GH,)] * (2 * call.has_biases)]
        shapes += [(P, H)] * call.projects
        if [tuple(w.shape) for w in own] != shapes or any(w.dtype != own[0].dtype for w in own):
            return False
    same_type = all(w.dtype == weights[0].dtype for w in weights)
    return same_type and GH == G * H and min(H, P, size) > 0 and (call.projects or P == H)


# -- networks in use ----------------------------------------------------------------------------


class _Known:
    """A network and what tells whether it still is that of its weights."""

    def __init__(self, network: Network, weights: Sequence[Tensor], forget: Any) -> None:
        self.network = network
        self.places: list[Any] = [
            (weakref.ref(w, forget), w.data_ptr(), w.shape, w.dtype) for w in weights
        ]

    def is_of(self, weights: Sequence[Tensor]) -> bool:
        """Whether these are the weights, where they were and as they were."""
        for weight, (ref, address, shape, dtype) in zip(weights, self.places, strict=True):
            if not (
                ref() is weight
                and weight.data_ptr() == address
                and weight.shape == shape
                and weight.dtype == dtype
                and weight.is_contiguous()
            ):
                return False
        return True


_known: dict[tuple[int, ...], _Known] = {}  # by the identities of parameters


def network_of(call: Call, weights: Sequence[Tensor]) -> Network:
    """The network of these weights, kept for as long as they are parameters that exist."""
    key = (call.cell.id, call.num_layers, call.directions, call.has_biases, *map(id, weights))
    known = _known.get(key)
    if known is not None and known.is_of(weights):
        return known.network
    network = Network(call, [w.contiguous() for w in weights])
    if all(type(w) is torch.nn.Parameter and w.is_contiguous() for w in weights):
        _known[key] = _Known(network, weights, lambda _: _known.pop(key, None))
    return network
