"""`fastseq train`."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from .. import plots
from ..checks import check_int, check_real
from ..lm import LanguageModel, ModelConfig, open_checkpoint
from ..lm.checkpoint import LAST, Checkpoint
from ..storage.files import atomic_file
from ..text import Corpus, Vocabulary
from ..training import Trainer, TrainingConfig
from ..training.run_directory import RunDirectory, recorded_texts
from .options import given, use_threads
from .train_options import (
    CORPUS_OPTIONS,
    DEFAULT_VALID,
    DEFAULT_WORDS,
    MODEL_DEFAULTS,
    add_arguments,
)
from .train_report import PICTURE, finished, interrupted, nothing_to_do, opening
from .wording import command

__all__ = ["add_arguments", "run"]


def run(args: Namespace) -> int:
    use_threads(args)
    out = _run_directory(args)
    trainer = _resumed(args, out) if args.resume else _new_trainer(args, out)
    print(opening(trainer, out), flush=True)
    if trainer.progress.finished or trainer.budget_used() >= 1.0:
        print(nothing_to_do(trainer, out))
        return 0
    try:
        history = trainer.fit()
    except KeyboardInterrupt:
        return _stopped(trainer, out, signal.SIGINT)
    except SystemExit as end:  # see `Trainer.fit`
        return _stopped(trainer, out, int(end.code or 0) - 128)
    _draw(history, out / PICTURE)
    print(finished(trainer, out))
    return 0


def _stopped(trainer: Trainer, out: Path, number: int) -> int:
    """Say how to go on; return the exit status of a process that a signal has ended."""
    with suppress(OSError):  # the terminal may be gone
        print(interrupted(trainer, out, number), file=sys.stderr)
    return 128 + number


def _run_directory(args: Namespace) -> Path:
    """Folder of the run, by default named after the first text."""
    for path in args.paths:
        if (Path(path) / LAST).is_file():
            how = command("train", "--resume", "--out", path)
            raise ValueError(f"{path}: is a training run and no text; to continue it: {how}")
    if args.out is not None:
        return Path(args.out)
    if not args.paths:
        missing = "out: expected the run's folder" if args.resume else "paths: expected a text"
        example = ["--resume", "--out", "RUN_DIR"] if args.resume else ["my-novel.txt"]
        raise ValueError(f"{missing}, as in: {command('train', *example)}")
    return Path("runs") / Path(args.paths[0]).stem


def _new_trainer(args: Namespace, out: Path) -> Trainer:
    # Check the options before reading any file.
    model = _model_config(args)
    config = TrainingConfig(**_training_options(args))
    maker = _vocabulary_maker(args)
    _check_unused(out)
    options = {"valid": DEFAULT_VALID} | _corpus_options(args)
    corpus = Corpus.from_files(args.paths, maker, **options)
    return Trainer(LanguageModel(corpus.vocabulary, model), corpus, config, out)


def _check_unused(out: Path) -> None:
    """Refuse a directory with a training run; do not create a missing one."""
    if not out.exists():
        return
    with RunDirectory(out) as run:
        try:
            run.check_unused()
        except FileExistsError:
            how = command("train", "--resume", "--out", out)
            raise FileExistsError(
                f"{out}: exists already with a training run; continue it ({how}) or choose "
                "another folder with --out"
            ) from None


def _corpus_options(args: Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in CORPUS_OPTIONS if hasattr(args, name)}


def _resumed(args: Namespace, out: Path) -> Trainer:
    checkpoint = open_checkpoint(out / LAST)
    _check_same_model(args, checkpoint)
    corpus = _read_again(args, out, checkpoint)
    _check_same_size(corpus, getattr(args, "vocabulary_size", None))
    return Trainer.from_checkpoint(checkpoint, corpus, **_training_options(args))


def _read_again(args: Namespace, out: Path, checkpoint: Checkpoint) -> Corpus:
    """The corpus of a run, from the recorded files or those on the command line."""
    vocabulary = checkpoint.vocabulary
    sources, options = recorded_texts(out), _corpus_options(args)
    if sources is not None:
        try:
            return Corpus.from_sources(sources, vocabulary, args.paths or None, **options)
        except FileNotFoundError as error:
            how = command("train", "NEW_PATH", "--resume", "--out", out)
            raise FileNotFoundError(f"{error}; if texts have been moved: {how}") from None
    if not args.paths:
        raise ValueError(f"paths: {out} does not record its texts, expected those it began with")
    options = {"valid": DEFAULT_VALID} | asdict(checkpoint.reading) | options
    return Corpus.from_files(args.paths, vocabulary, **options)


def _training_options(args: Namespace) -> dict[str, Any]:
    options = given(TrainingConfig, args)
    if hasattr(args, "weight_decay"):
        check_real("weight_decay", args.weight_decay, 0.0)
        options["optimizer_options"] = {"weight_decay": args.weight_decay}
    return options


def _model_config(args: Namespace) -> ModelConfig:
    options = given(ModelConfig, args)
    values = MODEL_DEFAULTS | options
    if options.get("tie_weights") and "embedding_size" not in options:
        values["embedding_size"] = values["hidden_size"]
    return ModelConfig(**values)


def _vocabulary_maker(args: Namespace) -> Vocabulary | Callable[[Iterable[str]], Vocabulary]:
    level, size = getattr(args, "level", "char"), getattr(args, "vocabulary_size", None)
    _check_size(level, size)
    if level == "byte":
        return Vocabulary.bytes()
    if level == "char":
        return Vocabulary.characters
    max_size = DEFAULT_WORDS if size is None else size or None
    return partial(Vocabulary.words, max_size=max_size, eos=True)


def _check_size(level: str, size: int | None) -> None:
    if size is not None and level != "word":
        raise ValueError(f"vocabulary_size: expected only for words, got {size} for {level!r}")
    if size is not None:
        check_int("vocabulary_size", size, 0)


def _check_same_model(args: Namespace, checkpoint: Checkpoint) -> None:
    """Refuse options that differ from the model and vocabulary of a checkpoint."""
    for name, value in given(ModelConfig, args).items():
        stored = getattr(checkpoint.config, name)
        if value != stored:
            raise ValueError(f"{name}: the training run has {stored}, got {value}")
    level = getattr(args, "level", checkpoint.vocabulary.level)
    if level != checkpoint.vocabulary.level:
        stored = checkpoint.vocabulary.level
        raise ValueError(f"level: the training run has {stored!r}, got {level!r}")
    if getattr(args, "documents", False) and checkpoint.vocabulary.eod_id is None:
        raise ValueError("documents: the training run has none")
    _check_size(level, getattr(args, "vocabulary_size", None))


def _check_same_size(corpus: Corpus, size: int | None) -> None:
    """Refuse a bound that would have produced another vocabulary."""
    count = len(corpus.vocabulary) - (corpus.vocabulary.eod_id is not None)
    # A vocabulary leaves words out only when it has reached its bound.
    full = corpus.vocabulary.unknown_rate(corpus.tokens("train")) > 0
    if size is not None and size != count and (full or 0 < size < count):
        raise ValueError(f"vocabulary_size: the training run has {count}, got {size}")


def _draw(history: list[dict[str, Any]], path: Path) -> None:
    try:
        picture = plots.training_curve(history)
    except plots.PlotError as error:
        print(f"{path.name} not drawn: {error}", file=sys.stderr)
        return
    with atomic_file(path) as file:
        file.write(picture)
