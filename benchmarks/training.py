"""Training: whole updates by fastseq against PyTorch's fastest form of the same.

    python -m benchmarks.training [--only lstm] [--threads 1] [--rounds 9] [--json FILE]

An update is forward, loss, backward, clipping and optimizer, with the state carried from window
to window. Both sides start from the same weights and read the same windows; their first losses
must agree if they are the same model. They are, unless PyTorch uses an embedding while fastseq
reads one-hot tokens, which are the cheapest ways for the two sides to read integers.
"""

import math
from collections.abc import Callable, Sequence

from benchmarks.command import (
    NUMPY_OPERATIONS,
    Row,
    chosen,
    numpy_product,
    options,
    save,
    start,
)
from benchmarks.pytorch import pytorch_update
from benchmarks.timing import interleave, ratio_range
from benchmarks.updates import fastseq_update
from benchmarks.workloads import TRAINING, TrainingWorkload

HEADER = (
    f"{'row':22} {'PyTorch':>9} {'fastseq':>9} {'ratio':>7} {'goal':>6}   "
    f"{'tokens/s':>10} {'GFLOP/s':>8} {'NumPy':>6} {'share':>6} {'goal':>5}"
)


def main(arguments: Sequence[str] | None = None) -> None:
    args = start(options(__doc__), arguments)
    pairs = [(case, input_form) for case in TRAINING for input_form in case.goals]
    rows = []
    print(f"{HEADER}\n{'':22} {'ms':>9} {'ms':>9}")
    for case, input_form in chosen(pairs, args.only, lambda pair: row_name(*pair)):
        rows.append(measure(case, input_form, args.rounds))
        print(line(rows[-1]), flush=True)
    save(args.json, rows)


def row_name(case: TrainingWorkload, input_form: str) -> str:
    return f"{case.name} {input_form}" if len(case.goals) > 1 else case.name


def measure(case: TrainingWorkload, input_form: str, rounds: int) -> Row:
    """Time both sides, and NumPy's large product as a reference."""
    theirs, weights, form = pytorch_update(case, input_form)
    same_model = (input_form == "one-hot") == (case.embedding is None)
    ours = fastseq_update(case, weights if same_model else None)
    if same_model:
        check_losses(case, ours, theirs)
    sides = {"pytorch": theirs, "fastseq": ours, "numpy": numpy_product()}
    timings = interleave(sides, rounds)
    low, high = ratio_range(timings["pytorch"], timings["fastseq"])
    seconds = {name: timing.seconds for name, timing in timings.items()}
    speed, reference = (
        operations / seconds[name] / 1e9
        for name, operations in (("fastseq", case.operations), ("numpy", NUMPY_OPERATIONS))
    )
    return {
        "row": row_name(case, input_form), "pytorch_form": form,
        "pytorch_ms": 1e3 * seconds["pytorch"], "fastseq_ms": 1e3 * seconds["fastseq"],
        "ratio": seconds["pytorch"] / seconds["fastseq"], "ratio_range": [low, high],
        "goal": case.goals[input_form], "calls": {name: t.calls for name, t in timings.items()},
        "tokens_per_second": case.tokens / seconds["fastseq"],
        "pytorch_tokens_per_second": case.tokens / seconds["pytorch"],
        "gflops": speed, "numpy_gflops": reference, "share": speed / reference,
        "share_goal": case.speed_goal,
    }  # fmt: skip


def check_losses(
    case: TrainingWorkload,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    updates: int = 2,
) -> None:
    """Check that both sides have the same loss in every update.

    Raises
    ------
    ArithmeticError
    """
    for number in range(updates):
        a, b = ours(), theirs()
        if not math.isclose(a, b, rel_tol=1e-3):
            raise ArithmeticError(f"{case.name}: loss {a} against PyTorch's {b}, update {number}")


def line(row: Row) -> str:
    share_goal = f"{row['share_goal']:.1f}" if row["share_goal"] else ""
    mark = " " if row["ratio"] >= row["goal"] else "!"
    return (
        f"{row['row']:22} {row['pytorch_ms']:9.2f} {row['fastseq_ms']:9.3f} "
        f"{row['ratio']:6.2f}× {row['goal']:5.2f}× {mark} {row['tokens_per_second']:10,.0f} "
        f"{row['gflops']:8.1f} {row['numpy_gflops']:6.1f} {row['share']:6.2f} {share_goal:>5}"
    )


if __name__ == "__main__":
    main()
