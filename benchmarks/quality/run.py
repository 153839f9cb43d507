"""Train the recipes of `recipes.py` and store command, output and result.

    python -m benchmarks.quality.run --data FOLDER [--only TEXT] [--pytorch]

FOLDER holds `tinyshakespeare/`, `verne/` and `wikitext-2/`. The machine should be otherwise idle,
because the budgets are wall time. Results go to `benchmarks/quality/results/`, a text file each.
"""

import json
import os
import shlex
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import fastseq
from benchmarks.command import chosen
from benchmarks.quality.recipes import RECIPES, Recipe

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SHARED = ("--cell", "--hidden-size", "--embedding-size", "--num-layers", "--batch-size",
          "--seq-length", "--minutes", "--learning-rate", "--warmup", "--dropout")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    for recipe in chosen(RECIPES, args.only, lambda recipe: recipe.name):
        if not args.pytorch:
            run_fastseq(recipe, args)
        elif recipe.pytorch:
            run_pytorch(recipe, args)


def parse(arguments: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="recipes whose name contains this"
    )
    parser.add_argument("--pytorch", action="store_true", help="train with PyTorch instead")
    parser.add_argument("--threads", default="2", metavar="N")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    args = parser.parse_args(arguments)
    args.data = args.data.resolve()
    return args


def texts(recipe: Recipe, data: Path, folder: Path) -> tuple[list[str], str]:
    """Files to train on, and the file or fraction to validate on."""
    held_out = data / recipe.valid
    files = [path for path in sorted(data.glob(recipe.texts)) if path != held_out]
    if not files:
        raise SystemExit(f"--data {data}: no {recipe.texts}")
    if ":" in recipe.valid:
        return cut(files[0], recipe.valid, folder)
    return [str(path) for path in files], str(held_out) if held_out.is_file() else recipe.valid


def cut(path: Path, fractions: str, folder: Path) -> tuple[list[str], str]:
    """Split a text at two fractions: write the part before the first, and between the two."""
    text = path.read_text(encoding="utf-8")
    start, end = (round(float(fraction) * len(text)) for fraction in fractions.split(":"))
    train, valid = folder / "train.txt", folder / "valid.txt"
    train.write_text(text[:start], encoding="utf-8")
    valid.write_text(text[start:end], encoding="utf-8")
    return [str(train)], str(valid)


def run_fastseq(recipe: Recipe, args: Namespace) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files, valid = texts(recipe, args.data, folder)
        command = ["-m", "fastseq", "train", *files, "--valid", valid, *recipe.options,
                   "--threads", args.threads, "--out", str(folder / "run")]  # fmt: skip
        lines = record(command, recipe.name, args, folder)
        best = best_validation(folder / "run")
    lines.append(f"best validation: {best:.4f} {recipe.unit}, goal {recipe.goal}")
    finish(recipe.name, lines, args)


def best_validation(run: Path) -> float:
    with open(run / "metrics.jsonl", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    key = "valid_perplexity" if "valid_perplexity" in records[-1] else "valid_loss"
    return min(record[key] for record in records if key in record)


def run_pytorch(recipe: Recipe, args: Namespace) -> None:
    pairs = zip(recipe.options[::2], recipe.options[1::2], strict=True)
    same = [part for pair in pairs if pair[0] in SHARED for part in pair]
    name = f"{recipe.name}-pytorch"
    with TemporaryDirectory() as temporary:
        files, valid = texts(recipe, args.data, Path(temporary))
        command = ["-m", "benchmarks.quality.pytorch", "--train", *files, "--valid", valid, *same,
                   "--threads", args.threads]  # fmt: skip
        finish(name, record(command, name, args, Path(temporary)), args)


def record(command: list[str], name: str, args: Namespace, folder: Path) -> list[str]:
    """Run Python with these arguments; print and return the command and its output."""
    shown = shlex.join(["python", *command]).replace(str(args.data), "DATA")
    shown = shown.replace(str(folder), "RUNS")
    lines = [f"# {fastseq.show_config()['cpu']}, load {os.getloadavg()[0]:.1f}", "$ " + shown]
    print(f"{name}: {shown}", flush=True)
    process = subprocess.Popen([sys.executable, *command], cwd=HERE.parents[1], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    with process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip().replace(str(folder), "RUNS"))
    if process.returncode:
        raise SystemExit(f"{name}: exit status {process.returncode}")
    return lines


def finish(name: str, lines: list[str], args: Namespace) -> None:
    print(lines[-1])
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
