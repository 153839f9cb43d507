"""The commands: each makes public calls and prints their results."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from . import backend, plots
from .checks import check_int, check_real
from .inspection import command as inspection_command
from .lm import LanguageModel, ModelConfig, Sampling, longest_copied_run, open_checkpoint
from .lm.checkpoint import LAST, Checkpoint
from .reproduce.benchmark import bench as time_experiments
from .reproduce.experiments import Settings
from .reproduce.run import reproduce as run_experiments
from .storage.files import atomic_file
from .text import Corpus, Vocabulary, find_sources, read_text
from .training import Progress, Trainer, TrainingConfig
from .training.metrics import summary
from .training.run_directory import RunDirectory

DEFAULT_WORDS = 10_000
# Defaults of `train` that differ from `LanguageModel`. An embedding, whose initial values have
# size 1, at first learns several times faster than one-hot weights of size 1/√H.
MODEL_DEFAULTS: dict[str, Any] = {"hidden_size": 256, "embedding_size": 128}


def _given(cls: type[Any], args: Namespace) -> dict[str, Any]:
    """Fields of a dataclass that are given on the command line."""
    return {f.name: getattr(args, f.name) for f in fields(cls) if hasattr(args, f.name)}


def _use_threads(args: Namespace) -> None:
    if args.threads is not None:
        backend.check_threads("threads", args.threads)
        backend.set_num_threads(args.threads)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


# -- experiments -----------------------------------------------------------------------------


def reproduce(args: Namespace) -> None:
    settings = Settings(**_given(Settings, args))
    run_experiments(args.corpus, args.experiments, settings, args.backend, args.out)


def bench(args: Namespace) -> None:
    settings = Settings(**_given(Settings, args))
    timings = time_experiments(args.experiments, args.rounds, settings=settings)
    if args.json:
        rows = [asdict(timing) | {"ratio": timing.ratio} for timing in timings]
        _print_json({"config": backend.show_config(), "timings": rows})
        return
    config = backend.show_config()
    print(f"{config['cpu']}, kernels {config['backend']}, one thread")
    print(f"{'':11} {'plain Python':^22} {config['backend']:^22}")
    print(f"{'experiment':<11}" + f" {'updates/s':>10} {'tokens/s':>11}" * 2 + f" {'ratio':>8}")
    for timing in timings:
        oracle = _rates(timing.oracle_seconds, timing.tokens)
        compiled = _rates(timing.compiled_seconds, timing.tokens)
        print(f"{timing.experiment:<11} {oracle} {compiled} {timing.ratio:>7,.0f}×", flush=True)


def _rates(seconds: float, tokens: int) -> str:
    """Updates and tokens per second."""
    digits = 3 if seconds > 1 else 1
    return f"{1 / seconds:>10,.{digits}f} {tokens / seconds:>11,.0f}"


# -- training --------------------------------------------------------------------------------


def train(args: Namespace) -> None:
    _use_threads(args)
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
    options = _given(TrainingConfig, args)
    if hasattr(args, "weight_decay"):
        check_real("weight_decay", args.weight_decay, 0.0)
        options["optimizer_options"] = {"weight_decay": args.weight_decay}
    return options


def _model_config(args: Namespace) -> ModelConfig:
    given = _given(ModelConfig, args)
    values = MODEL_DEFAULTS | given
    if given.get("tie_weights") and "embedding_size" not in given:
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
    for name, value in _given(ModelConfig, args).items():
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


# -- models ----------------------------------------------------------------------------------


def sample(args: Namespace) -> None:
    _use_threads(args)
    lm = LanguageModel.load(args.model)
    options = _given(Sampling, args) | {"stop": args.stop, "seed": args.seed}
    if args.stream:
        if args.count > 1 or args.json or args.novelty:
            raise ValueError("stream: expected neither count, json nor novelty beside it")
        for piece in lm.generate(args.prime, args.length, **options):
            print(piece, end="", flush=True)
        print()
        return
    texts = lm.samples(args.count, args.prime, args.length, **options)
    copied = list(_copied(lm, texts, args.novelty)) if args.novelty else []
    if args.json:
        _print_json({"samples": texts} | ({"copied": copied} if copied else {}))
        return
    print("\n---\n".join(texts))
    for run in copied:
        print(f"longest copied run, {run['tokens']} tokens: {run['text']!r}")


def _copied(lm: LanguageModel, texts: list[str], paths: list[str]) -> Iterator[dict[str, Any]]:
    """Find the longest run of each sample's tokens that occurs in the files."""
    known = Corpus.from_files(paths, lm.vocabulary).tokens()
    for text in texts:
        ids = lm.vocabulary.encode(text)
        run = longest_copied_run(ids, known)
        copied = ids[run.sample_start : run.sample_start + run.length]
        yield {"tokens": run.length, "text": lm.vocabulary.decode(copied)}


def evaluate(args: Namespace) -> None:
    _use_threads(args)
    lm = LanguageModel.load(args.model)
    scores = {}
    for path in find_sources(args.paths):
        text = read_text(path, errors=lm.vocabulary.text_errors)
        try:
            score = lm.evaluate(text, batch_size=args.batch_size)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        scores[str(path)] = asdict(score)
        if not args.json:
            print(
                f"{path}: {score.nats_per_token:.4f} nats per token, "
                f"{score.bits_per_character:.4f} bits per character, "
                f"perplexity {score.perplexity:.4g}, {score.unknown_rate:.2%} unknown, "
                f"{score.tokens:,} tokens"
            )
    if args.json:
        _print_json(scores)


def inspect(args: Namespace) -> None:
    _use_threads(args)
    inspection_command.run(args)


def info(args: Namespace) -> None:
    facts = backend.show_config() if args.model is None else describe_model(args.model)
    if args.json:
        _print_json(facts)
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
