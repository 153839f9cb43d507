"""Run every benchmark and write the results to `benchmarks/results/`.

    python -m benchmarks.all [--only training] [--quick]

Each benchmark runs in its own process. On an idle machine they take about ten minutes.
"""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from benchmarks.command import chosen

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PLOTS = ("roofline", "scaling")

# (name of the results, command)
RUNS = (
    ("training", ["training"]),
    ("training-all-threads", ["training", "--threads", "all"]),
    ("inference", ["inference"]),
    ("inference-all-threads", ["inference", "--threads", "all"]),
    ("generation", ["generation"]),
    ("threads", ["threads"]),
    ("products", ["products"]),
    ("pure_python", ["pure_python"]),
    ("roofline", ["roofline"]),
    ("memory", ["memory"]),
    ("scaling", ["scaling"]),
)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one round each, to see whether it runs"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="results whose name contains this"
    )
    args = parser.parse_args()
    failed = []
    for name, (script, *more) in chosen(RUNS, args.only, lambda run: run[0]):
        command = [sys.executable, "-m", f"benchmarks.{script}", *more]
        command += ["--json", str(args.out.resolve() / f"{name}.json")]
        if script in PLOTS:
            command += ["--plot", str(args.out.resolve() / f"{name}.png")]
        if args.quick:
            command += ["--rounds", "1"]
        print(f"\n== {name}", flush=True)
        if subprocess.run(command, cwd=HERE.parent, check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
