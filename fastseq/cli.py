"""The command line: its arguments, exit statuses and error messages."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NoReturn, get_args

from . import commands
from ._kernels import NAMES
from ._version import __version__
from .inspection import command as inspection_command
from .lm import ModelConfig, Sampling
from .lm.config import CELLS
from .reproduce.experiments import EXPERIMENTS, Settings
from .text import datasets
from .training import RunInUseError, TrainingConfig
from .training.config import OptimizerName, ScheduleName

FAILED, BAD_INPUT, INTERRUPTED, CLOSED_PIPE = 1, 2, 130, 141
# Errors of the machine. Every other OSError is an error in the arguments.
MACHINE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ENOMEM}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0, 1 failed, 2 bad input, 130 interrupted, 141 pipe closed.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # print on any terminal
    args = make_parser().parse_args(arguments)
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return _complain(args, "interrupted", INTERRUPTED)
    except (ArithmeticError, MemoryError, RuntimeError) as error:
        return _complain(args, error, BAD_INPUT if isinstance(error, RunInUseError) else FAILED)
    except OSError as error:
        status = FAILED if error.errno in MACHINE_ERRORS else BAD_INPUT
        return _complain(args, _system_error(error), status)
    except (ValueError, ImportError) as error:
        return _complain(args, error, BAD_INPUT)
    return 0


def not_empty(text: str) -> str:
    """Parse the name of a file or folder; an unset shell variable leaves it empty."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got an empty string")
    return text


def _complain(args: argparse.Namespace, message: object, status: int) -> int:
    """Print an error on one line; return the exit status."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    text = "; ".join(str(message).split("\n")) or type(message).__name__
    print(f"fastseq {args.command}: error: {text}", file=sys.stderr)
    return status


def _drop_output() -> None:
    """Redirect stdout, so that the flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_error(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


class Parser(argparse.ArgumentParser):
    """An argument parser that reports errors on one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = Parser(prog="fastseq", description="Recurrent language models, fast on a CPU.")
    parser.add_argument("--version", action="version", version=f"fastseq {__version__}")
    commands_ = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for add in (
        _add_reproduce, _add_train, _add_sample, _add_evaluate, _add_inspect, _add_bench, _add_info
    ):  # fmt: skip
        add(commands_)
    return parser


def _command(subparsers: Any, run: Any, text: str) -> argparse.ArgumentParser:
    """Add a command, named after the function that runs it."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        run.__name__, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    parser.set_defaults(run=run)
    return parser


def _add_field(group: Any, cls: type[Any], name: str, text: str, **options: Any) -> None:
    """Add an option for a field of a dataclass, which keeps its own default.

    Only options on the command line become attributes of the parsed arguments.
    """
    default = options.pop("shown", {field.name: field.default for field in fields(cls)}[name])
    if options.get("action") != "store_true":
        shown = "none" if default is None else default
        text = f"{text} (default: {shown})"
        options.setdefault("type", type(default))
        if "choices" not in options:
            options.setdefault("metavar", "N" if options["type"] is int else "X")
    flag = "--" + name.replace("_", "-")
    group.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=text, **options)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _add_experiments(group: Any) -> None:
    known = ",".join(EXPERIMENTS)
    group.add_argument(
        "--experiments", type=_names, default=list(EXPERIMENTS), metavar="NAME,...",
        help=f"experiments to run (default: {known})",
    )  # fmt: skip


def _add_threads(group: Any) -> None:
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="largest number of threads (default: OMP_NUM_THREADS, else all processors)",
    )


def _add_json(group: Any) -> None:
    group.add_argument("--json", action="store_true", help="print JSON")


# -- the commands ----------------------------------------------------------------------------


def _add_reproduce(subparsers: Any) -> None:
    text = "train the four published language models and compare time and losses"
    parser = _command(subparsers, commands.reproduce, text)
    selection = parser.add_argument_group("texts and experiments")
    selection.add_argument(
        "--corpus", type=not_empty, metavar="NAME_OR_DIR",
        help=f"{', '.join(datasets.NAMES)}, or a folder of texts "
        "(default: verne if it is available, else python-manual)",
    )  # fmt: skip
    _add_experiments(selection)
    _add_field(
        selection, Settings, "strip_licence", "leave out Project Gutenberg's header and footer, "
        "which the published program reads", action="store_true",
    )  # fmt: skip
    numbers = parser.add_argument_group("hyperparameters (the defaults are the published ones)")
    _add_field(numbers, Settings, "updates", "number of windows to train on")
    _add_field(numbers, Settings, "hidden_size", "size of the layer")
    _add_field(numbers, Settings, "seq_length", "tokens in a window")
    _add_field(numbers, Settings, "learning_rate", "learning rate of Adagrad")
    _add_field(numbers, Settings, "sample_length", "tokens in a sample")
    _add_field(numbers, Settings, "seed", "seed of weights and samples")
    where = parser.add_argument_group("kernels and output")
    where.add_argument(
        "--backend", choices=("auto", *NAMES), default="auto",
        help="kernels to use (default: %(default)s)",
    )  # fmt: skip
    where.add_argument(
        "--out", default="reproduction", type=not_empty, metavar="DIR",
        help="folder for curves, losses and report (default: %(default)s)",
    )  # fmt: skip


def _add_train(subparsers: Any) -> None:
    parser = _command(subparsers, commands.train, "train a language model on texts")
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
        help="continue from the last checkpoint in RUN_DIR, with the same texts; "
        "training options given here replace the stored ones",
    )  # fmt: skip
    _add_threads(run)


def _add_text_options(group: Any) -> None:
    group.add_argument(
        "paths", nargs="+", type=not_empty, metavar="PATH", help="file, folder or glob pattern"
    )
    group.add_argument(
        "--level", choices=("char", "word", "byte"), default=argparse.SUPPRESS,
        help="unit of a token (default: char)",
    )  # fmt: skip
    group.add_argument(
        "--vocabulary-size", type=int, default=argparse.SUPPRESS, metavar="N",
        help=f"largest number of words, 0 for all (default: {commands.DEFAULT_WORDS})",
    )  # fmt: skip
    group.add_argument(
        "--documents", action="store_true",
        help="treat every file as a document: the model learns where documents end, "
        "and samples end there",
    )  # fmt: skip
    group.add_argument(
        "--valid", type=_fraction_or_path, default=0.05, metavar="FRACTION_OR_FILE",
        help="fraction of the text, cut off its end, or file to validate on "
        "(default: %(default)s)",
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
    defaults = commands.MODEL_DEFAULTS
    _add_field(group, ModelConfig, "cell", "type of recurrent layer", choices=CELLS)
    _add_field(
        group, ModelConfig, "hidden_size", "size of each layer", shown=defaults["hidden_size"]
    )
    _add_field(group, ModelConfig, "num_layers", "number of layers")
    _add_field(
        group, ModelConfig, "embedding_size",
        "size of the token embedding, or none for one-hot tokens; the hidden size if weights "
        "are tied", type=_int_or_none, shown=defaults["embedding_size"],
    )  # fmt: skip
    _add_field(group, ModelConfig, "dropout", "fraction of activations dropped in training")
    _add_field(
        group, ModelConfig, "tie_weights", "use the embedding as the weight of the softmax layer",
        action="store_true",
    )  # fmt: skip
    _add_field(group, ModelConfig, "seed", "seed of weights and dropout")


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
    _add_field(group, TrainingConfig, "epochs", "passes over the text", type=float, shown=default)
    _add_field(group, TrainingConfig, "steps", "number of updates", type=int)
    _add_field(
        group, TrainingConfig, "minutes", "training time, including that before --resume",
        type=float,
    )  # fmt: skip


def _add_window_options(group: Any) -> None:
    _add_field(group, TrainingConfig, "batch_size", "streams of text read in parallel")
    _add_field(group, TrainingConfig, "seq_length", "tokens in a window")
    _add_field(
        group, TrainingConfig, "accumulate", "windows whose gradients are added for one update"
    )


def _add_rate_options(group: Any) -> None:
    config = TrainingConfig
    _add_field(group, config, "optimizer", "update rule", choices=get_args(OptimizerName))
    _add_field(group, config, "learning_rate", "highest learning rate")
    _add_field(
        group, config, "schedule", "shape of the learning rate", choices=get_args(ScheduleName)
    )
    _add_field(group, config, "warmup", "fraction of the budget in which the learning rate rises")
    _add_field(group, config, "final_rate", "final learning rate, as a fraction of the highest")
    _add_field(
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
    _add_field(group, config, "clip_norm", "limit on the norm of the gradient")
    _add_field(
        group, config, "clip_value", "limit on each element of the gradient after that", type=float
    )
    _add_field(
        group, config, "early_stopping", "stop after N validations without improvement", type=int
    )


def _add_monitoring_options(group: Any) -> None:
    config = TrainingConfig
    _add_field(
        group, config, "validate_every", "steps between validations", type=int, shown="an epoch"
    )
    _add_field(group, config, "log_every", "steps between lines of metrics")
    _add_field(group, config, "sample_every", "steps between samples", type=int)
    _add_field(group, config, "sample_length", "tokens in a sample")


def _add_sample(subparsers: Any) -> None:
    parser = _command(subparsers, commands.sample, "generate text with a trained model")
    _add_model(parser)
    _add_prime_options(parser.add_argument_group("text"))
    _add_choice_options(parser.add_argument_group("choice of the next token"))
    output = parser.add_argument_group("output")
    output.add_argument("--stream", action="store_true", help="print text as it is generated")
    output.add_argument(
        "--novelty", nargs="+", type=not_empty, metavar="PATH",
        help="also report the longest run of tokens that is copied literally from these texts",
    )  # fmt: skip
    _add_json(output)
    _add_threads(output)


def _add_prime_options(group: Any) -> None:
    group.add_argument(
        "--prime", default="", metavar="TEXT", help="beginning of the text (default: empty)"
    )
    group.add_argument(
        "--length", type=int, default=400, metavar="N", help="tokens (default: %(default)s)"
    )
    group.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this string"
    )
    group.add_argument(
        "--count", type=int, default=1, metavar="N", help="number of texts (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same text")


def _add_choice_options(group: Any) -> None:
    for name, text in (
        (
            "temperature",
            "divides the logits; below 1 favours likely tokens, 0 takes the best",
        ),
        ("top_k", "keep only the k likeliest tokens, 0: all"),
        ("top_p", "keep only the likeliest tokens that together reach this probability"),
        ("min_p", "keep only tokens with at least this fraction of the highest probability"),
        ("repetition_penalty", "above 1: avoid tokens that have occurred"),
    ):
        _add_field(group, Sampling, name, text)
    _add_field(group, Sampling, "allow_unk", "allow the unknown token", action="store_true")


def _add_evaluate(subparsers: Any) -> None:
    parser = _command(subparsers, commands.evaluate, "measure how well a model predicts texts")
    _add_model(parser)
    parser.add_argument(
        "paths", nargs="+", type=not_empty, metavar="FILE", help="file, folder or glob pattern"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N",
        help="parallel streams to read a text in: faster, with slightly worse scores "
        "(default: %(default)s)",
    )  # fmt: skip
    _add_json(parser)
    _add_threads(parser)


def _add_inspect(subparsers: Any) -> None:
    text = "write a page that shows what each unit of a model does while it reads a text"
    parser = _command(subparsers, commands.inspect, text)
    _add_model(parser)
    inspection_command.add_options(parser, not_empty)
    _add_threads(parser)


def _add_bench(subparsers: Any) -> None:
    text = "time the compiled kernels against their plain-Python reference"
    parser = _command(subparsers, commands.bench, text)
    _add_experiments(parser)
    parser.add_argument(
        "--rounds", type=int, default=2, metavar="N",
        help="updates in plain Python, of several seconds each (default: %(default)s)",
    )  # fmt: skip
    _add_field(parser, Settings, "hidden_size", "size of the layer")
    _add_field(parser, Settings, "seq_length", "tokens in a window")
    _add_json(parser)


def _add_info(subparsers: Any) -> None:
    text = "describe this machine and build, or a model"
    parser = _command(subparsers, commands.info, text)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="model file or run directory")
    _add_json(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model file or run directory")
