"""The functions of ``torch._VF`` that run recurrent layers and cells, on fastseq's kernels.

They take the same arguments and return the same tensors. A call that the kernels cannot take, or
that PyTorch's own function does faster, goes to that function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .. import backend
from .._kernels.cells import Cell
from .autograd import run
from .calls import Call, Inputs
from .replay import NATIVE
from .sizes import torch_is_faster

DTYPES = (torch.float32, torch.float64)
PLAIN = (Tensor, torch.nn.Parameter)

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
    return _dispatch(cell.name, _layers_call, cell, args, keywords)


def single_step(cell: Cell, *args: Any, **keywords: Any) -> Any:
    """One step of a cell: ``torch._VF.lstm_cell`` and its kin."""
    return _dispatch(f"{cell.name}_cell", _cell_call, cell, args, keywords)


def _dispatch(
    name: str, reader: Callable[..., Any], cell: Cell, args: Sequence[Any], keywords: Any
) -> Any:
    obstacle, call, inputs = _mode(), None, None
    if obstacle is None:
        try:
            call, inputs = reader(cell, *args, **keywords)
        except (TypeError, ValueError, IndexError):
            obstacle = "arguments that only PyTorch takes"
        else:
            obstacle = _obstacle(call, inputs)
    for observer in _observers:
        observer(name, obstacle)
    if call is None or inputs is None or obstacle is not None:
        return getattr(NATIVE, name)(*args, **keywords)
    _share_threads()
    weights = [w if w.is_contiguous() else w.contiguous() for w in inputs.weights]
    outputs = run(call, inputs._replace(weights=weights))
    if call.single_step and not cell.has_c:
        return outputs[1]
    return tuple(out for out in outputs if out is not None)


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


def _obstacle(call: Call, inputs: Inputs) -> str | None:
    """What keeps a call from the kernels."""
    tensors = [inputs.x, inputs.h0, *inputs.weights]
    if inputs.c0 is not None:
        tensors.append(inputs.c0)
    for tensor in tensors:
        if type(tensor) not in PLAIN:
            return f"a tensor of type {type(tensor).__name__}"
        if tensor.device.type != "cpu":
            return f"device {tensor.device.type}"
        if tensor.dtype not in DTYPES:
            return f"dtype {str(tensor.dtype).removeprefix('torch.')}"
        if tensor.dtype != inputs.x.dtype or tensor.layout != torch.strided or tensor.is_neg():
            return "tensors that PyTorch has to refuse or to convert"
    if not _shapes_agree(call, inputs):
        return "shapes that PyTorch has to refuse, or no numbers at all"
    if backend.get_backend() == "oracle":
        return "no compiled kernels"
    return "PyTorch is faster at this size" if torch_is_faster(call, inputs) else None


def _shapes_agree(call: Call, inputs: Inputs) -> bool:
    x, batch_sizes, h0, c0, weights = inputs
    K, G = call.num_layers * call.directions, len(call.cell.gates)
    each = 2 + 2 * call.has_biases + call.projects
    flat = call.single_step or batch_sizes is not None
    if x.dim() != (2 if flat else 3) or len(weights) != K * each or not x.numel():
        return False
    B = x.shape[0 if call.single_step or call.batch_first else 1]
    if batch_sizes is not None:
        B = int(batch_sizes[0]) if batch_sizes.numel() else 0
    lead = (B,) if call.single_step else (K, B)
    P, H = h0.shape[-1], weights[1].shape[0] // G
    if h0.shape != (*lead, P) or (c0 is not None and c0.shape != (*lead, H)):
        return False
    size = x.shape[-1]
    for k, (w_ih, w_hh, *others) in enumerate(call.groups(weights)):
        expected = [(G * H,)] * (2 * call.has_biases) + [(P, H)] * call.projects
        inputs_of_layer = size if k < call.directions else call.directions * P
        shapes = [(G * H, inputs_of_layer), (G * H, P), *expected]
        if [w.shape for w in (w_ih, w_hh, *others)] != shapes:
            return False
    return H > 0 and P > 0 and (call.projects or P == H)
