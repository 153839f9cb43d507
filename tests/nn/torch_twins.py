"""A fastseq layer and its PyTorch twin with the same weights, and the comparison of both."""

from dataclasses import dataclass

import numpy as np
import pytest

from fastseq import nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its threads wait for each other where the machine is busy

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


@dataclass(frozen=True)
class Case:
    """One configuration of a recurrent layer and of its call."""

    cell: str = "LSTM"
    T: int = 3
    B: int = 2
    I: int = 3  # noqa: E741  # the notation of the kernels
    H: int = 4
    layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = False
    unbatched: bool = False
    lengths: bool = False
    resets: bool = False
    state: bool = True
    grad_state: bool = True
    dtype: str = "float64"
    seed: int = 0

    def options(self):
        """Keyword arguments that both constructors take."""
        names = {"num_layers": "layers", "bias": "bias"}
        names |= {"batch_first": "batch_first", "bidirectional": "bidirectional"}
        options = {name: getattr(self, field) for name, field in names.items()}
        if self.cell == "RNN":
            options["nonlinearity"] = self.nonlinearity
        if self.cell == "LSTM":
            options["proj_size"] = self.proj_size
        return options

    def build(self):
        """Both layers, with the same weights."""
        ours = getattr(nn, self.cell)(
            self.I, self.H, dtype=self.dtype, seed=self.seed, **self.options()
        )
        theirs = getattr(torch.nn, self.cell)(
            self.I, self.H, dtype=getattr(torch, self.dtype), **self.options()
        )
        theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
        return ours, theirs

    def arrays(self):
        """x, h0, c0, lengths, dy, dh, dc in the layout of the call."""
        rng = np.random.default_rng(self.seed)
        K = self.layers * (2 if self.bidirectional else 1)
        P = self.proj_size or self.H
        outer = (self.B, self.T) if self.batch_first else (self.T, self.B)
        outer = (self.T,) if self.unbatched else outer
        rows = (K,) if self.unbatched else (K, self.B)
        width = P * (2 if self.bidirectional else 1)
        shapes = [(*outer, self.I), (*rows, P), (*rows, self.H)]
        shapes += [(*outer, width), (*rows, P), (*rows, self.H)]
        x, h0, c0, dy, dh, dc = (rng.normal(size=s).astype(self.dtype) for s in shapes)
        lengths = rng.integers(1, self.T + 1, self.B) if self.lengths else None
        return x, h0, c0, lengths, dy, dh, dc

    def marks(self):
        """Resets in the layout of the call, or None."""
        if not self.resets:
            return None
        shape = (self.B, self.T) if self.batch_first else (self.T, self.B)
        return (
            np.random.default_rng(self.seed).random((self.T,) if self.unbatched else shape) < 0.4
        )


def run_ours(case, layer, arrays):
    """Everything that comes out of a forward and a backward call, by name."""
    x, h0, c0, lengths, dy, dh, dc = arrays
    lstm = case.cell == "LSTM"
    state = ((h0, c0) if lstm else h0) if case.state else None
    y, final = layer(x, state, lengths, case.marks())
    grad = ((dh, dc) if lstm else dh) if case.grad_state else None
    dx, initial = layer.backward(dy, grad)
    out = {"output": y, "dx": dx}
    pair = zip("hc", final, strict=True) if lstm else [("h", final)]
    out |= {f"{name}_n": value for name, value in pair}
    if case.state:
        pair = zip("hc", initial, strict=True) if lstm else [("h", initial)]
        out |= {f"d{name}0": value for name, value in pair}
    return out | {f"d{name}": p.grad for name, p in layer.named_parameters()}


def run_torch(case, layer, arrays):
    """The same from PyTorch, through a packed sequence where there are lengths."""
    (*floats,) = (torch.from_numpy(a) for i, a in enumerate(arrays) if i != 3)
    x, h0, c0, dy, dh, dc = floats
    lengths = arrays[3]
    leaves = {"x": x, "h0": h0, "c0": c0} if case.cell == "LSTM" else {"x": x, "h0": h0}
    if not case.state:
        leaves = {"x": x}
    for leaf in leaves.values():
        leaf.requires_grad_()
    state = ((h0, c0) if case.cell == "LSTM" else h0) if case.state else None
    if case.resets:
        y, final = torch_segments(case, layer, x, h0, c0, lengths)
    elif lengths is None:
        y, final = layer(x, state)
    else:
        rnn = torch.nn.utils.rnn
        options = {"batch_first": case.batch_first}
        packed = rnn.pack_padded_sequence(
            x, torch.from_numpy(lengths), enforce_sorted=False, **options
        )
        y, final = layer(packed, state)
        y, _ = rnn.pad_packed_sequence(y, total_length=case.T, **options)
    finals = final if case.cell == "LSTM" else (final,)
    loss = (y * dy).sum()
    if case.grad_state:
        loss = loss + sum((f * d).sum() for f, d in zip(finals, (dh, dc), strict=False))
    loss.backward()
    out = {"output": y} | dict(zip(("h_n", "c_n"), finals, strict=False))
    out |= {f"d{name}": leaf.grad for name, leaf in leaves.items()}
    out |= {f"d{name}": p.grad for name, p in layer.named_parameters()}
    return {name: value.detach().numpy() for name, value in out.items()}


def torch_segments(case, layer, x, h0, c0, lengths):
    """PyTorch's layer over each sequence's segments, one by one: output and final state."""
    marks = case.marks()
    if case.unbatched:
        x, h0, c0, marks = x[:, None], h0[:, None], c0[:, None], marks[:, None]
    elif case.batch_first:
        x, marks = x.transpose(0, 1), marks.T
    layer.batch_first, outputs, finals = False, [], []
    for b in range(case.B if not case.unbatched else 1):
        length = case.T if lengths is None else lengths[b]
        y, final = torch_sequence(
            case, layer, x[:length, b], h0[:, b], c0[:, b], marks[:length, b]
        )
        outputs.append(torch.cat([y, y.new_zeros(case.T - length, y.shape[1])]))
        finals.append(final)
    y = torch.stack(outputs, 0 if case.batch_first and not case.unbatched else 1)
    final = [torch.stack(states, 1) for states in zip(*finals, strict=True)]
    if case.unbatched:
        y, final = y[:, 0], [states[:, 0] for states in final]
    return y, tuple(final) if case.cell == "LSTM" else final[0]


def torch_sequence(case, layer, x, h0, c0, marks):
    """The same of one sequence (T, I). The reverse direction begins with the last segment."""
    starts = [0, *(t for t in range(1, len(x)) if marks[t])]
    reverse = torch.arange(len(h0)) % 2 == 1 if case.bidirectional else torch.zeros(len(h0)) > 0
    outputs, finals = [], []
    for start, end in zip(starts, [*starts[1:], len(x)], strict=True):
        keeps = (reverse & (end == len(x))) | (~reverse & (start == 0 and not marks[0]))
        if not case.state:
            keeps = keeps & False
        state = [torch.where(keeps[:, None], s, torch.zeros_like(s)) for s in (h0, c0)]
        y, final = layer(x[start:end], tuple(state) if case.cell == "LSTM" else state[0])
        outputs.append(y)
        finals.append(final if case.cell == "LSTM" else (final,))
    ends = zip(finals[0], finals[-1], strict=True)
    return torch.cat(outputs), [torch.where(reverse[:, None], a, z) for a, z in ends]


def assert_same(ours, theirs, dtype):
    """Equal names and values, relative to the largest value of each array."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        tolerance = TOLERANCE[dtype] * max(1.0, float(np.abs(expected).max(initial=0.0)))
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=tolerance, err_msg=name)
