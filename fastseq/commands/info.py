"""`fastseq info`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import backend
from ..lm import Checkpoint, open_checkpoint
from ..lm.checkpoint import LAST
from ..text.sources import readable_size
from ..training import Progress
from ..training.metrics import Record, summary
from ..training.run_directory import METRICS
from .options import add_json, print_json
from .wording import (
    command,
    duration,
    loss_in_words,
    model_in_words,
    next_commands,
    vocabulary_in_words,
)

EXAMPLES = """\
examples:
  fastseq info                        processor, kernels, threads
  fastseq info runs/novel             the best model of a run, and its training
  fastseq info runs/novel --metrics   how the losses developed
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.usage, parser.epilog = "%(prog)s [MODEL] [options]", EXAMPLES
    parser.add_argument("model", nargs="?", metavar="MODEL", help="model file or run directory")
    parser.add_argument(
        "--metrics", action="store_true", help="also print every line of the run's metrics"
    )
    add_json(parser)


def run(args: Namespace) -> None:
    if args.model is None:
        _print_machine(args)
        return
    model = Description(args.model)
    if args.json:
        print_json(model.facts())
        return
    for name, value in model.lines():
        print(f"{name:<11} {value}")
    if args.metrics:
        print()
        for record in model.history:
            print(summary(record))
    print(f"\n{model.next_commands()}")


def _print_machine(args: Namespace) -> None:
    if args.metrics:
        raise ValueError("metrics: expected a MODEL beside it")
    facts = backend.show_config()
    if args.json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name:<12} {', '.join(value) if isinstance(value, list) else value}")


class Description:
    """What is known of a model and its training.

    In a run directory the model is the best one, the training that of the last checkpoint.

    Parameters
    ----------
    path : str
        Model file or run directory.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.model = open_checkpoint(path)
        last = Path(path) / LAST
        self.last = open_checkpoint(last) if last.is_file() else self.model
        self.history = _history(Path(path) / METRICS)

    @property
    def progress(self) -> Progress | None:
        return _progress(self.last)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Names and values for people."""
        model, size = self.model, self.model.path.stat()
        yield "file", f"{model.path}, {readable_size(size.st_size)}"
        yield "saved", f"{datetime.fromtimestamp(size.st_mtime):%Y-%m-%d %H:%M}, {_version(model)}"
        yield "model", model_in_words(model.config)
        yield "parameters", f"{_parameters(model):,}, {model.config.dtype}"
        yield "vocabulary", vocabulary_in_words(model.vocabulary)
        if texts := self.last.metadata.get("texts"):
            yield "trained on", texts
        if self.progress is not None:
            yield from self._training(self.progress)

    def _training(self, progress: Progress) -> Iterator[tuple[str, str]]:
        end = "finished" if progress.finished else "not finished"
        if self.last.path.name != LAST and not progress.finished:
            end = "until this model was saved"
        yield (
            "training",
            f"{progress.step:,} steps, {progress.tokens:,} tokens in "
            f"{duration(progress.seconds)}, {end}",
        )
        if progress.best_loss is not None:
            unknown = json.loads(self.model.metadata.get("valid_unknown_rate", "null"))
            loss = loss_in_words(progress.best_loss, self.model.vocabulary, unknown)
            yield "validation", f"{loss}, the best, at step {progress.best_step:,}"

    def next_commands(self) -> str:
        lines = [
            ("sample", command("sample", self.path, "--temperature", "0.8")),
            ("loss on a text", command("evaluate", self.path, "TEXT.txt")),
        ]
        if (Path(self.path) / LAST).is_file() and self.progress and not self.progress.finished:
            lines.append(("train on", command("train", "--resume", "--out", self.path)))
        if self.history:
            lines.append(("losses by step", command("info", self.path, "--metrics")))
        return next_commands(*lines)

    def facts(self) -> dict[str, Any]:
        """Everything, as values for JSON."""
        model, vocabulary = self.model, self.model.vocabulary
        status = model.path.stat()
        saved = datetime.fromtimestamp(status.st_mtime).astimezone()
        facts: dict[str, Any] = {
            "file": str(model.path),
            "bytes": status.st_size,
            "saved": saved.isoformat("T", "seconds"),
            "model": asdict(model.config),
            "parameters": _parameters(model),
            "vocabulary": {
                "level": vocabulary.level,
                "tokens": len(vocabulary),
                "documents": vocabulary.eod_id is not None,
            },
            "written by": _version(model),
        }
        if texts := self.last.metadata.get("texts"):
            facts["trained on"] = texts
        if self.progress is not None:
            facts["progress"] = asdict(self.progress)
        if self.history:
            facts["history"] = self.history
        return facts


def _version(model: Checkpoint) -> str:
    return f"fastseq {model.metadata.get('fastseq', '(unknown)')}"


def _parameters(model: Checkpoint) -> int:
    return sum(array.size for array in model.weights.values())


def _progress(model: Checkpoint) -> Progress | None:
    text = model.metadata.get("progress")
    return None if text is None else Progress.from_json(text)


def _history(metrics: Path) -> list[Record]:
    if not metrics.is_file():
        return []
    whole_lines = metrics.read_text(encoding="utf-8").rpartition("\n")[0]  # the last may be half
    return [json.loads(line) for line in whole_lines.splitlines()]
