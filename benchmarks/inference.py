"""Inference: one recurrent layer of fastseq against onnxruntime's.

    python -m benchmarks.inference [--only gru] [--threads 1] [--rounds 9] [--json FILE]

Both compute the same layer on the same input and initial states, and return all outputs and the
final states; the script first checks that they agree. onnxruntime is called in the faster of two
ways: plainly, or with inputs bound once and outputs left in its own memory.
"""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.command import Row, chosen, options, save, start
from benchmarks.onnx_layer import bound_call, plain_call, session
from benchmarks.timing import fastest, interleave, ratio_range
from benchmarks.workloads import INFERENCE, InferenceWorkload
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


def row_name(case: InferenceWorkload) -> str:
    cell = case.cell.removesuffix("_tanh")
    name = f"{cell} I{case.I} H{case.H} B{case.B} T{case.T}"
    return f"{name} stepper" if case.stepper else name


def layer_and_inputs(
    case: InferenceWorkload,
) -> tuple[nn.RNN | nn.LSTM | nn.GRU, dict[str, np.ndarray]]:
    """A layer in `eval` mode; x (T, B, I) and initial states (1, B, H) by name."""
    rng = np.random.default_rng(0)
    names = ("h0", "c0") if case.cell == "lstm" else ("h0",)
    inputs = {"x": rng.standard_normal((case.T, case.B, case.I), np.float32)}
    inputs |= {name: rng.standard_normal((1, case.B, case.H), np.float32) for name in names}
    return CLASSES[case.cell](case.I, case.H, seed=0).eval(), inputs


def our_call(
    case: InferenceWorkload, layer: nn.RNN | nn.LSTM | nn.GRU, inputs: dict[str, np.ndarray]
) -> Callable[[], np.ndarray]:
    """The timed call, from the initial states to the output (T, B, H)."""
    x, *states = inputs.values()
    state = tuple(states) if case.cell == "lstm" else states[0]
    if not case.stepper:
        return lambda: layer(x, state)[0]
    stepper = layer.stepper(case.B)
    stepper.reset(state)
    return lambda: stepper(x[0])[None]


def measure(case: InferenceWorkload, rounds: int, threads: int) -> Row:
    layer, inputs = layer_and_inputs(case)
    runtime = session(layer, threads)
    ours = our_call(case, layer, inputs)
    check_outputs(ours(), plain_call(runtime, inputs)()[0])
    form = fastest({name: lambda make=make: make(runtime, inputs) for name, make in CALLS.items()})
    timings = interleave({"onnxruntime": CALLS[form](runtime, inputs), "fastseq": ours}, rounds)
    seconds = {name: timing.seconds for name, timing in timings.items()}
    return {
        "row": row_name(case), "onnxruntime_call": form,
        "onnxruntime_us": 1e6 * seconds["onnxruntime"], "fastseq_us": 1e6 * seconds["fastseq"],
        "ratio": seconds["onnxruntime"] / seconds["fastseq"],
        "ratio_range": ratio_range(timings["onnxruntime"], timings["fastseq"]),
        "goal": case.goal, "calls": {name: t.calls for name, t in timings.items()},
    }  # fmt: skip


def check_outputs(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Compare the outputs; onnxruntime returns (T, directions, B, H).

    Raises
    ------
    AssertionError
        They differ by more than the rounding of float32, and of onnxruntime's tanh.
    """
    np.testing.assert_allclose(ours, theirs[:, 0], rtol=0, atol=2e-5)


def line(row: Row) -> str:
    short = row["goal"] is not None and row["ratio"] < row["goal"]
    goal = f"{'':6}" if row["goal"] is None else f"{row['goal']:5.2f}×"
    return (
        f"{row['row']:26} {row['onnxruntime_us']:14,.1f} {row['fastseq_us']:11,.1f} "
        f"{row['ratio']:6.2f}× {goal}{' !' if short else ''}"
    )


if __name__ == "__main__":
    main()
