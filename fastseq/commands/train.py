"""`fastseq train`."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
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
from ..training.run_directory import RunDirectory
from .options import given, use_threads
from .train_options import DEFAULT_WORDS, MODEL_DEFAULTS, add_arguments

__all__ = ["add_arguments", "run"]


def run(args: Namespace) -> None:
    use_threads(args)
    out = Path(args.out or Path("runs") / Path(args.paths[0]).stem)
    trainer = _resumed(args, out) if args.resume else _new_trainer(args, out)
    print(f"Training in {out}: {trainer.corpus!r}", flush=True)
    if trainer.budget_used() >= 1.0:
        print(f"Nothing to do: its budget was used up at step {trainer.progress.step:,}")
    history = trainer.fit()
    _draw(history, out / "loss.png")


def _new_trainer(args: Namespace, out: Path) -> Trainer:
    # Check the options before reading any file.
    model = _model_config(args)
    config = TrainingConfig(**_training_options(args))
    maker = _vocabulary_maker(args)
    _check_unused(out)
    corpus = Corpus.from_files(args.paths, maker, valid=args.valid, documents=args.documents)
    return Trainer(LanguageModel(corpus.vocabulary, model), corpus, config, out)


def _check_unused(out: Path) -> None:
    """Refuse a directory with a training run; do not create a missing one."""
    if out.exists():
        with RunDirectory(out) as run:
            run.check_unused()


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


def _resumed(args: Namespace, out: Path) -> Trainer:
    checkpoint = open_checkpoint(out / LAST)
    _check_same_model(args, checkpoint)
    corpus = Corpus.from_files(args.paths, checkpoint.vocabulary, valid=args.valid)
    _check_same_size(corpus, getattr(args, "vocabulary_size", None))
    return Trainer.from_checkpoint(checkpoint, corpus, **_training_options(args))


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
    if args.documents and checkpoint.vocabulary.eod_id is None:
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
