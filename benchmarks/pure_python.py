"""The published experiments: plain Python, NumPy, and fastseq.

    python -m benchmarks.pure_python [--only word] [--rounds 2] [--json FILE]

The script prints three tables, all for one thread: updates of the experiments by the plain-Python
kernels (the oracle) and by the compiled ones, in the same run and with losses compared; updates of
the same size by a short NumPy program; and the time of the four whole experiments.
"""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.command import Row, chosen, options, save, start
from benchmarks.numpy_model import numpy_update
from benchmarks.timing import interleave
from benchmarks.training import check_losses
from benchmarks.updates import fastseq_update, language_model
from benchmarks.workloads import TRAINING, TrainingWorkload
from fastseq import backend
from fastseq.reproduce.benchmark import bench
from fastseq.reproduce.experiments import EXPERIMENTS, Settings, prepare, train
from fastseq.text import datasets

ORACLE_GOALS = {"word-rnn": 3000, "word-lstm": 3000}
TOTAL_GOAL = 1.0  # seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=2)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument(
        "--updates", type=int, default=100, help="updates of the whole experiments"
    )
    args = start(parser, arguments)
    settings = Settings(args.updates, args.hidden, args.length)
    names = chosen(EXPERIMENTS, args.only)
    oracle = against_oracle(names, args.rounds, settings)
    numpy = against_numpy(names, args.rounds, settings)
    total = whole_experiments(names, settings)
    save(args.json, oracle + numpy, total_seconds=total, total_goal=TOTAL_GOAL)


def against_oracle(names: Sequence[str], rounds: int, settings: Settings) -> list[Row]:
    rows = []
    print(f"\n{'update':12} {'plain Python ms':>16} {'fastseq ms':>11} {'ratio':>9} {'goal':>7}")
    for timing in bench(names, rounds, settings=settings):
        goal = ORACLE_GOALS.get(timing.experiment)
        rows.append({
            "row": timing.experiment, "peer": "oracle", "goal": goal,
            "peer_ms": 1e3 * timing.oracle_seconds, "fastseq_ms": 1e3 * timing.compiled_seconds,
            "ratio": timing.ratio, "loss_difference": timing.loss_difference,
        })  # fmt: skip
        print(line(rows[-1]), flush=True)
    return rows


def against_numpy(names: Sequence[str], rounds: int, settings: Settings) -> list[Row]:
    rows = []
    print(f"\n{'update':12} {'NumPy ms':>16} {'fastseq ms':>11} {'ratio':>9}")
    for case in (case for case in TRAINING if case.name in names):
        sized = replace(case, H=settings.hidden_size, T=settings.seq_length)
        rows.append(race_numpy(sized, rounds))
        print(line(rows[-1]), flush=True)
    return rows


def race_numpy(case: TrainingWorkload, rounds: int) -> Row:
    weights = language_model(case).state_dict()
    theirs, ours = numpy_update(case, weights), fastseq_update(case, weights)
    check_losses(case, ours, theirs)
    timings = interleave({"numpy": theirs, "fastseq": ours}, rounds)
    peer, fastseq = timings["numpy"].seconds, timings["fastseq"].seconds
    return {
        "row": case.name, "peer": "numpy", "goal": None, "peer_ms": 1e3 * peer,
        "fastseq_ms": 1e3 * fastseq, "ratio": peer / fastseq,
    }  # fmt: skip


def line(row: Row) -> str:
    goal = f"{row['goal']:6,}×" if row["goal"] else ""
    return (
        f"{row['row']:12} {row['peer_ms']:16,.1f} {row['fastseq_ms']:11.3f} "
        f"{row['ratio']:8,.0f}× {goal}"
    )


def whole_experiments(names: Sequence[str], settings: Settings) -> dict[str, float]:
    """Seconds of each experiment, including samples, and of all together."""
    dataset = datasets.find("python-manual")
    seconds = {}
    with backend.one_thread(backend.get_backend()):
        for name in names:
            *_, result = train(prepare(EXPERIMENTS[name], dataset, settings), settings)
            seconds[name] = result.seconds
    seconds["all"] = sum(seconds.values())
    print(f"\n{settings.updates} updates and samples")
    for name, value in seconds.items():
        print(f"{name:12} {value:8.3f} s" + f"   goal {TOTAL_GOAL} s" * (name == "all"))
    return seconds


if __name__ == "__main__":
    main()
