"""The arguments of `fastseq train`."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from typing import Any, get_args

from ..lm import ModelConfig
from ..lm.config import CELLS
from ..training import TrainingConfig
from ..training.config import OptimizerName, ScheduleName
from .options import DOCUMENTS, add_encoding, add_field, add_threads, documents, not_empty

DEFAULT_WORDS = 10_000
DEFAULT_VALID = 0.05
# Options of `Corpus.from_files`. A resumed run keeps its own for those that are not given.
CORPUS_OPTIONS = ("valid", "documents", "encoding")
# Defaults of `train` that differ from `LanguageModel`. An embedding, whose initial values have
# size 1, at first learns several times faster than one-hot weights of size 1/√H.
MODEL_DEFAULTS: dict[str, Any] = {"hidden_size": 256, "embedding_size": 128}


USAGE = "%(prog)s PATH [PATH ...] [options]\n       %(prog)s --resume --out RUN_DIR [options]"
EXAMPLES = """\
examples:
  fastseq train my-novel.txt --minutes 5 --out runs/novel
  fastseq train texts/ --level word --tie-weights --embedding-size 256 --epochs 20
  fastseq train names/ --documents --dropout 0.2 --early-stopping 5

  Ctrl-C stops a run and saves it. It goes on, with the same texts and options, by
  fastseq train --resume --out runs/novel
  and a run that is finished trains longer by
  fastseq train --resume --out runs/novel --minutes 10
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.usage, parser.epilog = (
        "%(prog)s PATH [PATH ...] [options]\n       %(prog)s --resume --out RUN_DIR [options]",
        EXAMPLES,
    )
    _add_text_options(parser.add_argument_group("text"))
    _add_model_options(parser.add_argument_group("model"))
    _add_training_options(parser)
    run = parser.add_argument_group("run")
    run.add_argument(
        "--out", type=not_empty, metavar="RUN_DIR",
        help="folder for checkpoints and metrics (default: runs/ and the name of the first text)",
    )  # fmt: skip
    run.add_argument(
        "--resume", action="store_true",
        help="continue the run in RUN_DIR from its last checkpoint, with the same texts and "
        "options; training options given here replace those of the run",
    )  # fmt: skip
    add_threads(run)


def _add_text_options(group: Any) -> None:
    group.add_argument(
        "paths", nargs="*", type=not_empty, metavar="PATH",
        help="file, folder or glob pattern; with --resume only if the texts have been moved",
    )  # fmt: skip
    group.add_argument(
        "--level", choices=("char", "word", "byte"), default=argparse.SUPPRESS,
        help="unit of a token (default: char)",
    )  # fmt: skip
    group.add_argument(
        "--vocabulary-size", type=int, default=argparse.SUPPRESS, metavar="N",
        help=f"largest number of words, 0 for all (default: {DEFAULT_WORDS})",
    )  # fmt: skip
    group.add_argument(
        "--documents", nargs="?", const="files", type=documents, default=argparse.SUPPRESS,
        metavar="KIND",
        help="divide the text into documents: the model learns where they end, and samples end "
        f"there. {DOCUMENTS}. Sorted documents are better shuffled first (default: one text)",
    )  # fmt: skip
    add_encoding(group, "the texts' encoding")
    group.add_argument(
        "--valid", type=_fraction_or_path, default=argparse.SUPPRESS,
        metavar="FRACTION_OR_FILE",
        help="fraction of the text, cut off its end, or file to validate on "
        f"(default: {DEFAULT_VALID})",
    )  # fmt: skip


def _fraction_or_path(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return not_empty(text)


def _int_or_none(text: str) -> int | None:
    try:
        return None if text == "none" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer or none, got {text!r}") from None


def _add_model_options(group: Any) -> None:
    defaults = MODEL_DEFAULTS
    add_field(group, ModelConfig, "cell", "type of recurrent layer", choices=CELLS)
    add_field(
        group, ModelConfig, "hidden_size", "size of each layer", shown=defaults["hidden_size"]
    )
    add_field(group, ModelConfig, "num_layers", "number of layers")
    add_field(
        group, ModelConfig, "embedding_size",
        "size of the token embedding, or none for one-hot tokens; the hidden size if weights "
        "are tied", type=_int_or_none, shown=defaults["embedding_size"],
    )  # fmt: skip
    add_field(group, ModelConfig, "dropout", "fraction of activations dropped in training")
    add_field(
        group, ModelConfig, "tie_weights", "use the embedding as the weight of the softmax layer",
        action="store_true",
    )  # fmt: skip
    add_field(group, ModelConfig, "seed", "seed of weights and dropout")


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    title = "budget (one of these; learning-rate schedules span it)"
    _add_budget_options(parser.add_argument_group(title).add_mutually_exclusive_group())
    training = parser.add_argument_group("training")
    _add_window_options(training)
    _add_rate_options(training)
    _add_limit_options(training)
    _add_monitoring_options(parser.add_argument_group("monitoring"))


def _add_budget_options(group: Any) -> None:
    default = TrainingConfig().epochs
    add_field(group, TrainingConfig, "epochs", "passes over the text", type=float, shown=default)
    add_field(group, TrainingConfig, "steps", "number of updates", type=int)
    add_field(
        group, TrainingConfig, "minutes", "training time, including that before --resume",
        type=float,
    )  # fmt: skip


def _add_window_options(group: Any) -> None:
    add_field(group, TrainingConfig, "batch_size", "streams of text read in parallel")
    add_field(group, TrainingConfig, "seq_length", "tokens in a window")
    add_field(
        group, TrainingConfig, "accumulate", "windows whose gradients are added for one update"
    )


def _add_rate_options(group: Any) -> None:
    config = TrainingConfig
    add_field(group, config, "optimizer", "update rule", choices=get_args(OptimizerName))
    add_field(group, config, "learning_rate", "highest learning rate")
    add_field(
        group, config, "schedule", "shape of the learning rate", choices=get_args(ScheduleName)
    )
    add_field(group, config, "warmup", "fraction of the budget in which the learning rate rises")
    add_field(group, config, "final_rate", "final learning rate, as a fraction of the highest")
    add_field(
        group, config, "plateau_factor",
        "factor applied to the learning rate when validation stops improving, with "
        "--schedule plateau",
    )  # fmt: skip
    group.add_argument(
        "--weight-decay", type=float, default=argparse.SUPPRESS, metavar="X",
        help="weight decay of the optimizer (default: 0.01 for adamw, else 0)",
    )  # fmt: skip


def _add_limit_options(group: Any) -> None:
    config = TrainingConfig
    add_field(group, config, "clip_norm", "limit on the norm of the gradient")
    add_field(
        group, config, "clip_value", "limit on each element of the gradient after that", type=float
    )
    add_field(
        group, config, "early_stopping", "stop after N validations without improvement", type=int
    )


def _add_monitoring_options(group: Any) -> None:
    config = TrainingConfig
    add_field(
        group, config, "validate_every", "steps between validations", type=int, shown="an epoch"
    )
    add_field(group, config, "log_every", "steps between lines of metrics")
    add_field(group, config, "sample_every", "steps between samples", type=int)
    add_field(group, config, "sample_length", "tokens in a sample")
