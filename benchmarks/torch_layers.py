"""PyTorch's recurrent layers: its own functions against `fastseq.torch`.

    python -m benchmarks.torch_layers [--only gru] [--grid] [--threads 1] [--rounds 9]

Both sides are the same module in the same program. Training is forward, the sum of the output and
of the final states, and backward to input and parameters; inference is forward under `no_grad`.
The script first checks that both sides agree.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import fastseq.torch
from benchmarks.command import Row, chosen, options, save, start
from benchmarks.timing import interleave, ratio_range
from fastseq.torch import functions

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


class Workload(NamedTuple):
    """One module and its input; `goal` is the ratio to reach, 0.95 where it only must not lose."""

    cell: str
    input_size: int
    hidden_size: int
    batch: int
    steps: int
    training: bool = True
    num_layers: int = 1
    bidirectional: bool = False
    half_full: bool = False  # packed sequences of lengths from 1 to T
    single_cell: bool = False  # the Cell class, one step a call
    dtype: str = "float32"
    goal: float = 0.95

    @property
    def name(self) -> str:
        kind = f"{self.cell}cell" if self.single_cell else self.cell
        size = f"I{self.input_size} H{self.hidden_size} B{self.batch} T{self.steps}"
        options = [
            f"L{self.num_layers}" * (self.num_layers > 1),
            "bidirectional" * self.bidirectional,
            "packed" * self.half_full,
            "float64" * (self.dtype == "float64"),
            "train" if self.training else "infer",
        ]
        return " ".join([kind, size, *filter(None, options)])


WORKLOADS = [
    Workload("gru", 64, 128, 32, 64, goal=2),
    Workload("rnn", 64, 128, 32, 64, goal=3),
    Workload("lstm", 64, 128, 32, 64, goal=1.15),
    Workload("lstm", 128, 256, 32, 64, bidirectional=True, goal=1.5),
    Workload("lstm", 64, 128, 32, 64, half_full=True, goal=3),
    Workload("gru", 128, 128, 1, 64, num_layers=3, goal=5),
    *(Workload(c, 128, 128, b, 1, t, goal=1.2) for c in LAYERS
        for b in (1, 32) for t in (False, True)),
    *(
        Workload(c, 128, 128, b, 1, t, single_cell=True, goal=1.2)
        for c in CELLS for b in (1, 32) for t in (False, True)
    ),
]  # fmt: skip


def grid() -> Iterator[Workload]:
    """Many sizes, to find those at which PyTorch is faster."""
    for cell, H, B, training in product(
        LAYERS, (32, 128, 512, 1024), (1, 8, 64, 256), (False, True)
    ):
        yield Workload(cell, H, H, B, 1, training, single_cell=True)
        for T in (1, 2, 5, 20):
            if H * H * B * T <= 512 * 512 * 64 * 20:
                yield Workload(cell, H, H, B, T, training)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--grid", action="store_true", help="many sizes instead of the rows")
    args = start(parser, arguments)
    torch.set_num_threads(args.threads)
    cases = list(grid()) if args.grid else WORKLOADS
    rows = []
    print(f"{'row':48} {'PyTorch µs':>11} {'fastseq µs':>11} {'ratio':>7} {'goal':>6}")
    for case in chosen(cases, args.only, lambda case: case.name):
        rows.append(measure(case, args.rounds))
        print(line(rows[-1]), flush=True)
    save(args.json, rows)


def call_of(case: Workload, patched: bool) -> Callable[[], list[torch.Tensor]]:
    """The timed call: outputs and, in training, gradients."""
    torch.manual_seed(0)
    dtype = getattr(torch, case.dtype)
    T, B = case.steps, case.batch
    if case.single_cell:
        module: nn.Module = CELLS[case.cell](case.input_size, case.hidden_size, dtype=dtype)
        x = torch.randn(B, case.input_size, dtype=dtype)
    else:
        module = LAYERS[case.cell](
            case.input_size, case.hidden_size, case.num_layers,
            bidirectional=case.bidirectional, dtype=dtype,
        )  # fmt: skip
        x = torch.randn(T, B, case.input_size, dtype=dtype)
    x.requires_grad_(case.training)
    if patched:
        fastseq.torch.patch(module)
    lengths = torch.linspace(1, T, B).long().flip(0)

    def forward() -> list[torch.Tensor]:
        given = pack_padded_sequence(x, lengths) if case.half_full else x
        return _flat(module(given))

    def train() -> list[torch.Tensor]:
        module.zero_grad(set_to_none=True)
        x.grad = None
        outputs = forward()
        torch.autograd.backward(outputs, [torch.ones_like(o) for o in outputs])
        return [*outputs, x.grad, *(p.grad for p in module.parameters())]

    def infer() -> list[torch.Tensor]:
        with torch.no_grad():
            return forward()

    return train if case.training else infer


def _flat(results: object) -> list[torch.Tensor]:
    if isinstance(results, torch.Tensor):
        return [results]
    if hasattr(results, "batch_sizes"):
        return [results.data]
    return [tensor for part in results for tensor in _flat(part)]


def measure(case: Workload, rounds: int) -> Row:
    plain, ours, ran = call_of(case, False), call_of(case, True), []
    expected = plain()
    with functions.watch(lambda _, why: ran.append(why)):
        got = ours()
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    timings = interleave({"torch": plain, "fastseq": ours}, rounds)
    torch_seconds, our_seconds = timings["torch"].seconds, timings["fastseq"].seconds
    return {
        "row": case.name, "ran_on": "torch" if ran[0] else "fastseq",
        "torch_us": 1e6 * torch_seconds, "fastseq_us": 1e6 * our_seconds,
        "ratio": torch_seconds / our_seconds,
        "ratio_range": ratio_range(timings["torch"], timings["fastseq"]), "goal": case.goal,
    }  # fmt: skip


def line(row: Row) -> str:
    missed = " !" if row["ratio"] < row["goal"] else ""
    return (
        f"{row['row']:48} {row['torch_us']:11.1f} {row['fastseq_us']:11.1f} "
        f"{row['ratio']:7.2f} {row['goal']:6.2f}{missed}"
    )


if __name__ == "__main__":
    main()
