"""The functions of ``torch._VF`` that run recurrent layers and cells, on fastseq's kernels.

They take the same arguments and return the same tensors. A call that the kernels cannot take, or
that PyTorch's own function does faster, goes to that function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .. import backend
from .._kernels.cells import Cell
from .autograd import run
from .calls import Call, Inputs
from .network import Network, network_of, tensor_obstacle
from .replay import NATIVE
from .sizes import is_short_call, is_short_step
from .threads import share_pool

Observer = Callable[[str, str | None], None]
_observers: list[Observer] = []


@contextmanager
def watch(observer: Observer) -> Iterator[None]:
    """Report every call in the block: the function's name, and what kept it from the kernels."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def layers(cell: Cell, *args: Any, **keywords: Any) -> Any:
    """All layers of a network: ``torch._VF.lstm`` and its kin."""
    short = is_short_call(cell, args)
    if short and not _observers:
        return getattr(NATIVE, cell.name)(*args, **keywords)
    return _dispatch(cell.name, short, _layers_call, cell, args, keywords)


def single_step(cell: Cell, *args: Any, **keywords: Any) -> Any:
    """One step of a cell: ``torch._VF.lstm_cell`` and its kin."""
    name, short = f"{cell.name}_cell", is_short_step(cell, args)
    if short and not _observers:
        return getattr(NATIVE, name)(*args, **keywords)
    return _dispatch(name, short, _cell_call, cell, args, keywords)


def _dispatch(
    name: str, short: bool, reader: Callable[..., Any], cell: Cell, args: Any, keywords: Any
) -> Any:
    obstacle = _mode()
    if obstacle is None:
        try:
            call, inputs = reader(cell, *args, **keywords)
        except (TypeError, ValueError, IndexError):
            obstacle = "arguments that only PyTorch takes"
        else:
            network = network_of(call, inputs.weights)
            obstacle = network.obstacle or _obstacle(call, network, inputs)
    if obstacle is None and short:
        obstacle = "PyTorch is faster at this size"
    for observer in _observers:
        observer(name, obstacle)
    if obstacle is not None:
        return getattr(NATIVE, name)(*args, **keywords)
    _share_threads()
    if not all(w.is_contiguous() for w in inputs.weights):
        inputs = inputs._replace(weights=[w.contiguous() for w in inputs.weights])
    outputs = run(call, network, inputs)
    if call.single_step and not cell.has_c:
        return outputs[1]
    return tuple(out for out in outputs if out is not None)


share_pool()
_threads = 0  # that PyTorch had at the last call


def _share_threads() -> None:
    """Let kernels use as many threads as PyTorch does, whenever that number changes."""
    global _threads
    if torch.get_num_threads() != _threads:
        _threads = torch.get_num_threads()
        backend.set_num_threads(min(_threads, backend.MAX_THREADS))


# -- arguments ----------------------------------------------------------------------------------


def _layers_call(cell: Cell, *args: Any) -> tuple[Call, Inputs]:
    """Read (x, hx, weights, …, batch_first), or for packed sequences (x, batch_sizes, hx, …)."""
    packed = isinstance(args[1 if cell.has_c else 2], Tensor)
    if packed:
        x, batch_sizes, hx, weights, biases, L, dropout, training, bidirectional = args
        batch_first = False
    else:
        x, hx, weights, biases, L, dropout, training, bidirectional, batch_first = args
        batch_sizes = None
    h0, c0 = hx if cell.has_c else (hx, None)
    directions = 2 if bidirectional else 1
    projects = len(weights) // max(L * directions, 1) == (5 if biases else 3)
    p = dropout if training else 0.0
    call = Call(cell, L, directions, biases, projects, p, batch_first)
    return call, Inputs(x, batch_sizes, h0, c0, weights)


def _cell_call(
    cell: Cell, x: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor,
    b_ih: Tensor | None = None, b_hh: Tensor | None = None,
) -> tuple[Call, Inputs]:  # fmt: skip
    h0, c0 = hx if cell.has_c else (hx, None)
    weights = [w for w in (w_ih, w_hh, b_ih, b_hh) if w is not None]
    call = Call(cell, 1, 1, b_ih is not None, single_step=True)
    return call, Inputs(x, None, h0, c0, weights)


# -- obstacles ----------------------------------------------------------------------------------


def _mode() -> str | None:
    """What in the state of PyTorch keeps any call from the kernels."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return "the program is being compiled, exported or traced"
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "torch.func"
    if torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        return "a mode that overrides functions of PyTorch"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    return None


def _obstacle(call: Call, network: Network, inputs: Inputs) -> str | None:
    """What keeps a call from the kernels that read its weights."""
    x, _, h0, c0, _ = inputs
    for tensor in (x, h0) if c0 is None else (x, h0, c0):
        obstacle = tensor_obstacle(tensor)
        if obstacle is not None:
            return obstacle
        if tensor.dtype != network.dtype:
            return "two types of numbers"
    if not _shapes_agree(call, network, inputs):
        return "shapes that PyTorch has to refuse, or no numbers at all"
    if backend.get_backend() == "oracle":
        return "no compiled kernels"
    return None


def _shapes_agree(call: Call, network: Network, inputs: Inputs) -> bool:
    x, sizes, h0, c0, _ = inputs
    if sizes is not None:
        B = int(sizes[0]) if sizes.numel() else 0
        dim, lead = 2, (call.num_layers * call.directions, B)
    elif call.single_step:
        dim, lead = 2, x.shape[:1]
    else:
        B = x.shape[0 if call.batch_first else 1] if x.dim() == 3 else 0
        dim, lead = 3, (call.num_layers * call.directions, B)
    return (
        x.dim() == dim
        and x.numel() > 0
        and x.shape[-1] == network.input_size
        and h0.shape == (*lead, network.output_size)
        and (c0 is None or c0.shape == (*lead, network.hidden_size))
    )
