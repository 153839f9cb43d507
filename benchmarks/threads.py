"""Threads: several against one, for every row of training and inference.

    python -m benchmarks.threads [--only lstm] [--threads 2] [--rounds 9] [--json FILE]

Only fastseq runs: the same update or call alternates between one thread and several.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import fastseq
from benchmarks.command import Row, chosen, options, save, start
from benchmarks.inference import layer_and_inputs, our_call, row_name
from benchmarks.timing import interleave, ratio_range
from benchmarks.updates import fastseq_update
from benchmarks.workloads import INFERENCE, TRAINING, InferenceWorkload

GOAL, GOAL_SMALL = 1.8, 0.95  # ratio for batches of 16 rows or more; for smaller ones
LARGE_BATCH = 16


class Work(NamedTuple):
    """A call to run on any number of threads."""

    name: str
    B: int
    make: Callable[[], Callable[[], object]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.set_defaults(threads=2)
    args = start(parser, arguments)
    rows = []
    print(f"{'row':36} {'1 thread':>10} {f'{args.threads} threads':>10} {'ratio':>7} {'goal':>6}")
    for work in chosen(works(), args.only, lambda work: work.name):
        rows.append(measure(work, args.rounds, args.threads))
        print(line(rows[-1]), flush=True)
    save(args.json, rows)


def works() -> list[Work]:
    training = [Work(f"train {c.name}", c.B, lambda c=c: fastseq_update(c)) for c in TRAINING]
    inference = [Work(f"run {row_name(c)}", c.B, lambda c=c: forward(c)) for c in INFERENCE]
    return training + inference


def forward(case: InferenceWorkload) -> Callable[[], object]:
    return our_call(case, *layer_and_inputs(case))


def measure(work: Work, rounds: int, threads: int) -> Row:
    call = work.make()

    def on(count: int) -> Callable[[], object]:
        def run() -> object:
            fastseq.set_num_threads(count)
            return call()

        return run

    timings = interleave({"one": on(1), "several": on(threads)}, rounds)
    one, several = timings["one"], timings["several"]
    return {
        "row": work.name, "one_ms": 1e3 * one.seconds, "several_ms": 1e3 * several.seconds,
        "threads": threads, "ratio": one.seconds / several.seconds,
        "ratio_range": ratio_range(one, several),
        "goal": GOAL if work.B >= LARGE_BATCH else GOAL_SMALL,
    }  # fmt: skip


def line(row: Row) -> str:
    mark = "" if row["ratio"] >= row["goal"] else " !"
    return (
        f"{row['row']:36} {row['one_ms']:10.3f} {row['several_ms']:10.3f} "
        f"{row['ratio']:6.2f}× {row['goal']:5.2f}×{mark}"
    )


if __name__ == "__main__":
    main()
