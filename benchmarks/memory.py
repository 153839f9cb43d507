"""Memory: what an update with a vocabulary of 50,000 words holds at its peak (Linux).

    python -m benchmarks.memory [--vocabulary 50000] [--hidden 512] [--only fastseq] [--json FILE]

Peak resident memory during updates, above what was resident before the model was made and above
parameters, gradients and Adam's two arrays; each side in a process of its own. PyTorch holds the
logits and their gradient, arrays of T·B·V floats.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from benchmarks.cases import TRAINING, Training
from benchmarks.command import Row, chosen, options, save, set_threads, start
from benchmarks.updates import fastseq_update
from fastseq._kernels.cells import BY_NAME

GOAL = 300  # MiB
MIB = 2**20
UPDATES = 2
FLOAT_BYTES = 4
COPIES = 4  # parameters, gradients, Adam's means of gradients and of their squares


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    for name, default in (("vocabulary", 50_000), ("hidden", 512), ("batch", 64), ("length", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = start(parser, arguments)
    case = replace(
        TRAINING[-1], name=f"V={args.vocabulary} H={args.hidden} B={args.batch} T={args.length}",
        vocabulary=args.vocabulary, embedding=args.hidden, H=args.hidden, layers=1,
        B=args.batch, T=args.length, goals={},
    )  # fmt: skip
    rows = []
    print(f"LSTM {case.name}: MiB above {held(case) / MIB:,.0f} MiB that any update must hold")
    for side in chosen(("fastseq", "pytorch"), args.only):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows.append(pool.submit(measure, case, side, args.threads).result())
        limit = f"   at most {GOAL}" if side == "fastseq" else ""
        print(f"{side:8} {rows[-1]['above_mib']:8,.0f}{limit}", flush=True)
    save(args.json, rows)


def held(case: Training) -> int:
    """Bytes of parameters, gradients and the optimizer's arrays."""
    V, H = case.vocabulary, case.H
    recurrent = len(BY_NAME[case.cell].gates) * H * (case.embedding + H + 2)
    return COPIES * FLOAT_BYTES * (V * case.embedding + recurrent + V * H + V)


def measure(case: Training, side: str, threads: int) -> Row:
    if side == "fastseq":
        start_update = fastseq_update
    else:  # only in a process that runs PyTorch
        pytorch = import_module("benchmarks.pytorch")

        def start_update(case: Training):
            return pytorch.update_of(pytorch.Model(case, "embedding"), case, "fused")

    set_threads(threads)
    before = resident("VmRSS")
    update = start_update(case)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: see man 5 proc
    for _ in range(UPDATES):
        update()
    above = resident("VmHWM") - before - held(case)
    logits = FLOAT_BYTES * case.tokens * case.vocabulary
    return {
        "row": case.name, "side": side, "above_mib": above / MIB, "held_mib": held(case) / MIB,
        "logits_mib": logits / MIB, "goal_mib": GOAL,
    }  # fmt: skip


def resident(field: str) -> int:
    """Bytes of physical memory of this process: now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[1])


if __name__ == "__main__":
    main()
