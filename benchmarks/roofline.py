"""Roofline: speed of the recurrent kernels against the measured limits of this machine.

    python -m benchmarks.roofline [--only lstm] [--plot FILE] [--json FILE]

A step multiplies B rows by the recurrent weight: 2·B operations for each weight of 4 bytes, or B/2
operations per byte if every weight is read once per step. The speed is limited by the bandwidth of
L2 times that number, and by the peak [1]_. The peak is measured with large products, the bandwidth
with products of a matrix in L2 and a vector; both are the fastest round of several candidates.

References
----------
.. [1] S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model
       for multicore architectures", Communications of the ACM 52, 2009.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmarks.command import Row, chosen, options, save, start
from benchmarks.figures import COLORS, MUTED, picture
from benchmarks.timing import interleave
from fastseq import backend
from fastseq._kernels.cells import BY_NAME
from fastseq._kernels.records import LayerCall, Weights
from fastseq.nn.parameter import Parameter
from fastseq.nn.recurrence import Recurrence

PEAK_SIZES = (512, 1024, 2048)
FLOAT_BYTES = 4
DEFAULT_L2 = 2**20
T = 32
TURN = 0.03  # seconds
LIMIT_ROUNDS = 6


class Work(NamedTuple):
    """The recurrence of one layer: forward, or forward and backward with the gradient of W_hh."""

    cell: str
    H: int
    B: int
    training: bool = False

    def __str__(self) -> str:
        return f"{self.kind} H={self.H} B={self.B}"

    @property
    def kind(self) -> str:
        cell = self.cell.removesuffix("_tanh")
        return f"{cell} {'training' if self.training else 'forward'}"

    @property
    def operations(self) -> int:
        products = 3 if self.training else 1
        return 2 * products * T * self.B * len(BY_NAME[self.cell].gates) * self.H**2

    def call(self) -> Callable[[], object]:
        """One pass over values that keep their magnitude from pass to pass."""
        rng, B, H = np.random.default_rng(0), self.B, self.H

        def normal(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape, np.float32) * np.float32(H**-0.5)

        cell = BY_NAME[self.cell]
        layer = Recurrence(cell, False, None, Parameter(normal(len(cell.gates) * H, H)))
        dy, dh, dc = normal(T * B, H), normal(B, H), normal(B, H)
        saved, y, end = layer.save(T * B), normal(T * B, H), (normal(B, H), normal(B, H))
        saved.gates[...] = normal(T * B, layer.width)
        outputs = y, end[0], end[1] if cell.has_c else None
        wanted = Weights(None, layer.w_hh.grad)

        def forward() -> LayerCall:
            return layer.forward(None, (None, None), outputs, None, saved)

        def train() -> None:
            dstates = dh, dc if cell.has_c else None
            layer.backward(forward(), dy, dstates, None, accumulate=False, weights=wanted)

        return train if self.training else forward


BATCHES = (1, 2, 4, 8, 16, 32, 64)
WORKS = [
    Work(cell, H, B, training)
    for cell, training in (
        ("rnn_tanh", False), ("lstm", False), ("gru", False), ("lstm", True),
    )
    for H in (128, 256, 512)
    for B in BATCHES
]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG")
    args = start(parser, arguments)
    works = chosen(WORKS, args.only)
    peak, bandwidth = measure_peak(), measure_bandwidth()
    print(f"peak {peak:.1f} GFLOP/s, L2 read {bandwidth:.1f} GB/s")
    print(f"{'recurrence':26} {'GFLOP/s':>8} {'limit':>7} {'share':>6}")
    rows = []
    for work in works:
        rows.append(measure(work, args.rounds, peak, bandwidth))
        print(line(rows[-1]), flush=True)
    save(args.json, rows, peak_gflops=peak, l2_gb_per_second=bandwidth)
    if args.plot:
        draw(args.plot, rows, peak, bandwidth)


def measure(work: Work, rounds: int, peak: float, bandwidth: float) -> Row:
    timing = interleave({"work": work.call()}, rounds, TURN)["work"]
    return {
        "row": str(work), "kind": work.kind, "H": work.H, "B": work.B, "training": work.training,
        "gflops": work.operations / timing.seconds / 1e9,
        "limit": float(limit(work.B, work.training, peak, bandwidth)),
    }  # fmt: skip


def limit(B: Any, training: bool, peak: float, bandwidth: float) -> Any:
    """Limit in GFLOP/s for B rows; B may be an array.

    Training consists of three equal products. The gradient of W_hh is a single product over all
    steps, which only the peak limits.
    """
    step = np.minimum(peak, B * 2 / FLOAT_BYTES * bandwidth)
    return 3 / (2 / step + 1 / peak) if training else step


def line(row: Row) -> str:
    share = row["gflops"] / row["limit"]
    return f"{row['row']:26} {row['gflops']:8.1f} {row['limit']:7.1f} {share:6.2f}"


# -- limits --------------------------------------------------------------------------------


def measure_peak() -> float:
    """GFLOP/s of the fastest large product, by the kernels or by NumPy."""
    matmul, best = backend.kernels("float32").matmul, 0.0
    for size in PEAK_SIZES:
        a, b = np.random.default_rng(0).standard_normal((2, size, size), np.float32)
        out = np.empty_like(a)
        sides = {
            "fastseq": partial(matmul, a, b, out, None, False),
            "numpy": partial(np.matmul, a, b, out),
        }
        best = max(best, 2 * size**3 / fastest_round(sides) / 1e9)
    return best


def measure_bandwidth() -> float:
    """GB/s of the product of a vector and a matrix that fits into L2 with room to spare."""
    best = 0.0
    for fraction in (0.25, 0.5):
        H = int((fraction * l2_bytes() / FLOAT_BYTES) ** 0.5) // 32 * 32
        w, (x, *_) = np.random.default_rng(0).standard_normal((2, H, H), np.float32)
        out = np.empty_like(x)
        sides = {"rows": partial(np.matmul, w, x, out), "columns": partial(np.matmul, x, w, out)}
        recurrence = {"rnn": Work("rnn_tanh", H, 1).call()}
        seconds = min(fastest_round(sides), fastest_round(recurrence) / T)
        best = max(best, w.nbytes / seconds / 1e9)
    return best


def fastest_round(sides: Mapping[str, Callable[[], object]]) -> float:
    """Seconds of the fastest side in its fastest round."""
    timings = interleave(sides, LIMIT_ROUNDS, TURN).values()
    return min(min(timing.rounds) for timing in timings)


def l2_bytes() -> int:
    """Size of a core's L2 cache, or a default where Linux does not report it."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text()
    except OSError:
        return DEFAULT_L2
    return 1024 * int(text.strip().removesuffix("K"))


# -- picture -------------------------------------------------------------------------------


def draw(path: Path, rows: Sequence[Row], peak: float, bandwidth: float) -> None:
    """Draw a panel for each kind of recurrence, with a line for each hidden size."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    with picture(path, 3.6 * len(kinds), 3.6) as figure:
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            _draw_kind(axes, [row for row in rows if row["kind"] == kind], peak, bandwidth)
        panels[0].set_ylabel("GFLOP/s")
        figure.suptitle(
            f"Grey: peak {peak:.0f} GFLOP/s, L2 {bandwidth:.0f} GB/s", color=MUTED, fontsize=10
        )


def _draw_kind(axes: Axes, rows: Sequence[Row], peak: float, bandwidth: float) -> None:
    cell, mode = rows[0]["kind"].split()
    axes.set_title(f"{cell.upper()} {mode}")
    x = np.geomspace(BATCHES[0], BATCHES[-1], 200)
    axes.loglog(x, limit(x, rows[0]["training"], peak, bandwidth), color=MUTED, linewidth=1.2)
    for color, H in zip(COLORS, dict.fromkeys(row["H"] for row in rows), strict=False):
        points = [(row["B"], row["gflops"]) for row in rows if row["H"] == H]
        axes.plot(*zip(*points, strict=True), "o-", color=color, markersize=4, label=f"H={H}")
    axes.set_xlabel("rows B (B / 2 operations per byte)")
    axes.set_xticks(BATCHES)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(loc="lower right")


if __name__ == "__main__":
    main()
