"""Scaling: tokens per second by hidden size, batch and sequence length, fastseq and PyTorch.

    python -m benchmarks.scaling [--only H=] [--cell lstm] [--plot FILE] [--json FILE]

Whole training updates as in `benchmarks.training`, V=96, E=64, Adam, around H=256, B=32, T=64:
one size changes, the others stay.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmarks.cases import TRAINING, Training
from benchmarks.command import Row, chosen, options, save, start
from benchmarks.figures import BLUE, ORANGE, picture
from benchmarks.pytorch import pytorch_update
from benchmarks.timing import interleave
from benchmarks.updates import fastseq_update
from fastseq._kernels.cells import BY_NAME

SIZES = {
    "H": ("hidden size", (32, 64, 128, 256, 512, 1024)),
    "B": ("batch", (1, 4, 16, 32, 64, 128)),
    "T": ("sequence length", (8, 16, 32, 64, 128, 256)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--cell", choices=BY_NAME, default="lstm")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG")
    args = start(parser, arguments)
    rows = []
    print(f"{'row':10} {'PyTorch':>10} {'fastseq':>10} {'ratio':>7}   tokens/s")
    for case in chosen(cases(args.cell), args.only, lambda case: case.name):
        rows.append(measure(case, args.rounds))
        print(f"{case.name:10} {rows[-1]['pytorch']:10,.0f} {rows[-1]['fastseq']:10,.0f} "
              f"{rows[-1]['ratio']:6.2f}×", flush=True)  # fmt: skip
    save(args.json, rows, cell=args.cell)
    if args.plot:
        draw(args.plot, rows, f"{args.cell.removesuffix('_tanh').upper()}, threads {args.threads}")


def cases(cell: str) -> list[Training]:
    base = next(case for case in TRAINING if case.name == "lstm-128")
    base = replace(base, cell=cell, H=256)
    return [
        replace(base, name=f"{size}={value}", **{size: value})
        for size, (_, values) in SIZES.items()
        for value in values
    ]


def measure(case: Training, rounds: int) -> Row:
    theirs, weights, form = pytorch_update(case, "embedding")
    timings = interleave({"pytorch": theirs, "fastseq": fastseq_update(case, weights)}, rounds)
    speeds = {name: case.tokens / timing.seconds for name, timing in timings.items()}
    size, value = case.name.split("=")
    return {
        "row": case.name, "size": size, "value": int(value), "pytorch_form": form, **speeds,
        "ratio": speeds["fastseq"] / speeds["pytorch"],
    }  # fmt: skip


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    """One panel for each size that changes."""
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    with picture(path, 4.2 * len(sizes), 3.6) as figure:
        panels = figure.subplots(1, len(sizes), squeeze=False)[0]
        for axes, size in zip(panels, sizes, strict=True):
            _draw_size(axes, [row for row in rows if row["size"] == size])
        panels[0].set_ylabel("tokens/s")
        figure.suptitle(f"Training, {title}", fontsize=11)


def _draw_size(axes: Axes, rows: Sequence[Row]) -> None:
    label, _ = SIZES[rows[0]["size"]]
    axes.set_title(f"by {label}")
    values = [row["value"] for row in rows]
    for side, color, name in (("fastseq", BLUE, "fastseq"), ("pytorch", ORANGE, "PyTorch")):
        axes.semilogx(values, [row[side] for row in rows], "o-", color=color, label=name)
    if rows[0]["size"] == "H":  # the work grows with its square
        axes.set_yscale("log")
    else:
        axes.set_ylim(0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(label)
    axes.set_xticks(values)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(loc="best")


if __name__ == "__main__":
    main()
