"""`fastseq info`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import backend
from ..lm import open_checkpoint
from ..lm.checkpoint import LAST
from ..training import Progress
from ..training.metrics import summary
from .options import add_json, print_json


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="model file or run directory")
    add_json(parser)


def run(args: Namespace) -> None:
    facts = backend.show_config() if args.model is None else describe_model(args.model)
    if args.json:
        print_json(facts)
        return
    history = facts.pop("history", [])
    for name, value in facts.items():
        if isinstance(value, list):
            value = ", ".join(value)
        elif isinstance(value, dict):
            value = ", ".join(f"{key} {_short(v)}" for key, v in value.items())
        print(f"{name:<12} {value}")
    for record in history:
        print(f"{'':<12} {summary(record)}")


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def describe_model(path: str) -> dict[str, Any]:
    """Describe a checkpoint or run directory: model, vocabulary, progress, metrics."""
    checkpoint = open_checkpoint(path)
    vocabulary = checkpoint.vocabulary
    facts: dict[str, Any] = {
        "model": asdict(checkpoint.config),
        "parameters": sum(array.size for array in checkpoint.weights.values()),
        "vocabulary": {
            "level": vocabulary.level,
            "tokens": len(vocabulary),
            "documents": vocabulary.eod_id is not None,
        },
        "written by": f"fastseq {checkpoint.metadata.get('fastseq', '(unknown)')}",
    }
    # In a run directory the described model is the best one, the progress that of the last.
    last = Path(path) / LAST
    trained = open_checkpoint(last) if last.is_file() else checkpoint
    if "progress" in trained.metadata:
        facts["progress"] = asdict(Progress.from_json(trained.metadata["progress"]))
    metrics = Path(path) / "metrics.jsonl"
    if metrics.is_file():
        whole_lines = metrics.read_text().rpartition("\n")[0]  # the last one may be incomplete
        facts["history"] = [json.loads(line) for line in whole_lines.splitlines()]
    return facts
