"""Random calls of recurrent layers and cells, and everything that a program sees of them."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import rnn

LAYERS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@dataclass
class Case:
    """A module, its input, and how it is called."""

    module: nn.Module
    x: Any
    state: Any
    graph: bool  # whether gradients are computed
    seed: int
    used: list[int]  # the outputs on which the loss depends: y, h_n, c_n
    backwards: int = 1
    single_step: bool = False

    def tensors(self) -> list[torch.Tensor]:
        """Inputs and parameters whose gradients are wanted."""
        data = self.x.data if isinstance(self.x, rnn.PackedSequence) else self.x
        states = self.state if isinstance(self.state, tuple) else (self.state,)
        everything = [data, *states, *self.module.parameters()]
        return [t for t in everything if t is not None and t.requires_grad]

    def run(self) -> dict[str, Any]:
        """All outputs and gradients, and the layout of the outputs."""
        torch.manual_seed(self.seed)
        with torch.set_grad_enabled(self.graph):
            results = self.module(self.x, *([] if self.state is None else [self.state]))
        outputs = _flat(results)
        seen = {"outputs": [o.detach().clone() for o in outputs]}
        if not self.single_step:  # a cell of PyTorch lays out h as its initial state is
            seen["strides"] = [o.stride() for o in outputs]
        seen["kept for gradients"] = [o.requires_grad for o in outputs]
        seen["random numbers"] = [torch.rand(3)]
        wanted = self.tensors()
        if self.graph and wanted:
            seen["gradients"] = self._gradients(outputs, wanted)
        return seen

    def _gradients(self, outputs: list[torch.Tensor], wanted: list[torch.Tensor]) -> list[Any]:
        used = [outputs[i] for i in self.used if i < len(outputs) and outputs[i].requires_grad]
        if not used:
            return []
        random = torch.Generator().manual_seed(self.seed)
        found = []
        for _ in range(self.backwards):
            flows = [torch.randn(o.shape, generator=random, dtype=o.dtype) for o in used]
            found += torch.autograd.grad(
                used, wanted, flows, retain_graph=self.backwards > 1, allow_unused=True
            )
        return found


def _flat(results: Any) -> list[torch.Tensor]:
    if isinstance(results, rnn.PackedSequence):
        return [results.data]
    if isinstance(results, torch.Tensor):
        return [results]
    return [tensor for part in results for tensor in _flat(part)]


def random_layer(seed: int) -> Case:
    """A layer with random options, called in a random way."""
    r = np.random.default_rng(seed)
    dtype = (torch.float32, torch.float64)[r.integers(2)]
    kind = str(r.choice(list(LAYERS)))
    input_size, H = int(r.integers(1, 20)), int(r.integers(1, 40))
    layers, bidirectional = int(r.integers(1, 4)), bool(r.integers(2))
    options: dict[str, Any] = {"bias": bool(r.integers(4)), "batch_first": bool(r.integers(2))}
    if kind == "LSTM" and H > 1 and r.integers(3) == 0:
        options["proj_size"] = int(r.integers(1, H))
    if kind == "RNN":
        options["nonlinearity"] = str(r.choice(["tanh", "relu"]))
    p = float(r.choice([0.0, 0.0, 0.3, 1.0])) if layers > 1 else 0.0
    torch.manual_seed(seed)
    module = LAYERS[kind](
        input_size, H, layers, dropout=p, bidirectional=bidirectional, dtype=dtype, **options
    )
    module.train(bool(r.integers(3)))
    for parameter in module.parameters():
        parameter.requires_grad_(bool(r.integers(8)))
    T, B = int(r.integers(1, 9)), int(r.integers(1, 7))
    x, batched = _input(r, T, B, input_size, options["batch_first"], dtype)
    state = None
    if r.integers(2):
        lead = (layers * (1 + bidirectional), *([B] if batched else []))
        sizes = [options.get("proj_size") or H] + ([H] if kind == "LSTM" else [])
        states = tuple(_tensor(r, (*lead, size), dtype) for size in sizes)
        state = states if kind == "LSTM" else states[0]
    used = [i for i in range(3) if r.integers(3)] or [0]
    return Case(module, x, state, bool(r.integers(5)), seed, used, 1 + int(r.integers(4) == 0))


def random_cell(seed: int) -> Case:
    """A cell with random options, called in a random way."""
    r = np.random.default_rng(seed)
    dtype = (torch.float32, torch.float64)[r.integers(2)]
    kind = str(r.choice(list(CELLS)))
    input_size, H = int(r.integers(1, 20)), int(r.integers(1, 40))
    options: dict[str, Any] = {"bias": bool(r.integers(4)), "dtype": dtype}
    if kind == "RNN":
        options["nonlinearity"] = str(r.choice(["tanh", "relu"]))
    torch.manual_seed(seed)
    module = CELLS[kind](input_size, H, **options)
    for parameter in module.parameters():
        parameter.requires_grad_(bool(r.integers(8)))
    lead = (int(r.integers(1, 7)),) if r.integers(4) else ()
    x, state = _tensor(r, (*lead, input_size), dtype), None
    if r.integers(3):
        states = tuple(_tensor(r, (*lead, H), dtype) for _ in range(1 + (kind == "LSTM")))
        state = states if kind == "LSTM" else states[0]
    used = [i for i in range(2) if r.integers(3)] or [0]
    return Case(
        module, x, state, bool(r.integers(5)), seed, used, 1 + int(r.integers(4) == 0), True
    )


def _input(
    r: np.random.Generator, T: int, B: int, size: int, batch_first: bool, dtype: torch.dtype
) -> tuple[Any, bool]:
    """x, padded, packed or of one sequence; whether it has a dimension for the batch."""
    way = r.integers(5)
    if way == 0:
        return _tensor(r, (T, size), dtype), False
    x = _tensor(r, (B, T, size) if batch_first else (T, B, size), dtype)
    if way > 2:
        return x, True
    lengths = torch.from_numpy(r.integers(1, T + 1, B))
    if r.integers(3) == 0:
        lengths[:] = T
    lengths[r.integers(B)] = T
    needs_grad = x.requires_grad
    with warnings.catch_warnings():
        packed = rnn.pack_padded_sequence(
            x.detach(), lengths, batch_first=batch_first, enforce_sorted=False
        )
    packed.data.requires_grad_(needs_grad)
    return packed, True


def _tensor(r: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A leaf of normal numbers, in one of several memory layouts."""
    layout = r.integers(4)
    numbers = torch.from_numpy(r.normal(size=shape)).to(dtype)
    if layout == 0 and len(shape) > 1:
        numbers = numbers.transpose(0, 1).contiguous().transpose(0, 1)
    elif layout == 1:
        numbers = numbers.repeat_interleave(2, -1)[..., ::2]
    elif layout == 2 and len(shape) > 1:
        numbers = numbers[:1].expand(shape)
    return numbers.detach().requires_grad_(bool(r.integers(3)))


def check_equal(expected: dict[str, Any], got: dict[str, Any], dtype: torch.dtype) -> None:
    """Two results of `Case.run` agree: values within rounding, all else exactly."""
    assert expected.keys() == got.keys()
    for key in expected:
        if key in ("strides", "kept for gradients"):
            assert got[key] == expected[key], key
            continue
        for place, (a, b) in enumerate(zip(expected[key], got[key], strict=True)):
            if a is None or b is None:
                assert a is b, (key, place)
                continue
            assert (a.shape, a.dtype) == (b.shape, b.dtype), (key, place)
            scale = max(1.0, float(a.abs().max())) if a.numel() else 1.0
            assert float((a - b).abs().max()) <= TOLERANCE[dtype] * scale, (key, place)
