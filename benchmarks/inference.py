"""Inference: one recurrent layer of fastseq against onnxruntime's.

    python -m benchmarks.inference [--only gru] [--threads 1] [--rounds 9] [--json FILE]

Both compute the same layer on the same input and initial states, and give all outputs and the
final states; that they agree is checked first. onnxruntime is called in whichever of its two ways
takes less time: plainly, or with inputs bound once and outputs left in its own memory.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.cases import INFERENCE, Inference
from benchmarks.command import Row, chosen, options, save, start
from benchmarks.onnx_layer import bound_call, plain_call, session
from benchmarks.timing import fastest, interleave, ratio_range
from fastseq import nn

CLASSES = {"rnn_tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CALLS = {"plain": plain_call, "bound": bound_call}


def main(arguments: Sequence[str] | None = None) -> None:
    args = start(options(__doc__), arguments)
    rows = []
    print(f"{'row':26} {'onnxruntime µs':>14} {'fastseq µs':>11} {'ratio':>7} {'goal':>6}")
    for case in chosen(INFERENCE, args.only, row_name):
        rows.append(measure(case, args.rounds, args.threads))
        print(line(rows[-1]), flush=True)
    save(args.json, rows)


def row_name(case: Inference) -> str:
    cell = case.cell.removesuffix("_tanh")
    return f"{cell} I{case.I} H{case.H} B{case.B} T{case.T}"


def layer_and_inputs(case: Inference) -> tuple[nn.RNN | nn.LSTM | nn.GRU, dict[str, np.ndarray]]:
    """A layer that does not learn; x (T, B, I) and initial states (1, B, H) by name."""
    rng = np.random.default_rng(0)
    names = ("h0", "c0") if case.cell == "lstm" else ("h0",)
    inputs = {"x": rng.standard_normal((case.T, case.B, case.I), np.float32)}
    inputs |= {name: rng.standard_normal((1, case.B, case.H), np.float32) for name in names}
    return CLASSES[case.cell](case.I, case.H, seed=0).eval(), inputs


def measure(case: Inference, rounds: int, threads: int) -> Row:
    layer, inputs = layer_and_inputs(case)
    x, *states = inputs.values()
    state = tuple(states) if case.cell == "lstm" else states[0]
    runtime = session(layer, threads)
    check_outputs(layer(x, state)[0], plain_call(runtime, inputs)()[0])
    way = fastest({name: lambda make=make: make(runtime, inputs) for name, make in CALLS.items()})
    timings = interleave(
        {"onnxruntime": CALLS[way](runtime, inputs), "fastseq": lambda: layer(x, state)}, rounds
    )
    low, high = ratio_range(timings["onnxruntime"], timings["fastseq"])
    theirs, ours = (timings[name].seconds for name in ("onnxruntime", "fastseq"))
    return {
        "row": row_name(case), "onnxruntime_call": way, "onnxruntime_us": 1e6 * theirs,
        "fastseq_us": 1e6 * ours, "ratio": theirs / ours, "ratio_range": [low, high],
        "goal": case.goal, "calls": {name: t.calls for name, t in timings.items()},
    }  # fmt: skip


def check_outputs(ours: np.ndarray, theirs: np.ndarray) -> None:
    """onnxruntime returns (T, directions, B, H).

    Raises
    ------
    AssertionError
        They differ by more than the rounding of float32, and of onnxruntime's tanh.
    """
    np.testing.assert_allclose(ours, theirs[:, 0], rtol=0, atol=2e-5)


def line(row: Row) -> str:
    mark = "" if row["ratio"] >= row["goal"] else " !"
    return (
        f"{row['row']:26} {row['onnxruntime_us']:14,.1f} {row['fastseq_us']:11,.1f} "
        f"{row['ratio']:6.2f}× {row['goal']:5.2f}×{mark}"
    )


if __name__ == "__main__":
    main()
