"""The command line: which arguments there are, and what a failure looks like."""

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
from .lm import ModelConfig, Sampling
from .lm.config import Cell
from .reproduce.experiments import EXPERIMENTS, Settings
from .text import datasets
from .training import RunInUseError, TrainingConfig
from .training.config import OptimizerName, Schedule

FAILED, BAD_INPUT, INTERRUPTED, CLOSED_PIPE = 1, 2, 130, 141
# What the machine does to a command, while every other error of the system is in its arguments.
MACHINE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ENOMEM}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status: 0, 1 failed, 2 bad input, 130 interrupted, 141 pipe closed.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal can show
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
    """The name of a file or folder; an unset shell variable is none."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got an empty string")
    return text


def _complain(args: argparse.Namespace, message: object, status: int) -> int:
    """Say on one line what is wrong."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    text = "; ".join(str(message).split("\n")) or type(message).__name__
    print(f"fastseq {args.command}: error: {text}", file=sys.stderr)
    return status


def _drop_output() -> None:
    """Have the interpreter flush to nowhere at exit: nobody reads, or nothing can be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_error(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = Parser(prog="fastseq", description="Recurrent language models, fast on a CPU.")
    parser.add_argument("--version", action="version", version=f"fastseq {__version__}")
    commands_ = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for add in (_add_reproduce, _add_train, _add_sample, _add_evaluate, _add_bench, _add_info):
        add(commands_)
    return parser


def _command(subparsers: Any, run: Any, text: str) -> argparse.ArgumentParser:
    """A command that is named as the function that runs it."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        run.__name__, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    parser.set_defaults(run=run)
    return parser


def _add_field(group: Any, cls: type[Any], name: str, text: str, **options: Any) -> None:
    """An option for a field of a dataclass, to which its default is left.

    Only what is given on the command line becomes an attribute of the parsed arguments.
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
        help=f"which ones (default: {known})",
    )  # fmt: skip


def _add_threads(group: Any) -> None:
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="most threads to use (default: OMP_NUM_THREADS, else all)",
    )


def _add_json(group: Any) -> None:
    group.add_argument("--json", action="store_true", help="print JSON, for programs")


# -- the commands ----------------------------------------------------------------------------


def _add_reproduce(subparsers: Any) -> None:
    text = "train the four published language models and compare time and losses"
    parser = _command(subparsers, commands.reproduce, text)
    what = parser.add_argument_group("what is run")
    what.add_argument(
        "--corpus", type=not_empty, metavar="NAME_OR_DIR",
        help=f"{', '.join(datasets.NAMES)}, or a folder of texts "
        "(default: verne where it is found, else python-manual)",
    )  # fmt: skip
    _add_experiments(what)
    _add_field(
        what, Settings, "strip_licence", "leave out Project Gutenberg's header and footer, "
        "which the published program read along", action="store_true",
    )  # fmt: skip
    numbers = parser.add_argument_group("numbers (the defaults are the published ones)")
    _add_field(numbers, Settings, "updates", "windows to train on")
    _add_field(numbers, Settings, "hidden_size", "units of the layer")
    _add_field(numbers, Settings, "seq_length", "tokens of a window")
    _add_field(numbers, Settings, "learning_rate", "of Adagrad")
    _add_field(numbers, Settings, "sample_length", "tokens of a sample")
    _add_field(numbers, Settings, "seed", "of weights and samples")
    where = parser.add_argument_group("where")
    where.add_argument(
        "--backend", choices=("auto", *NAMES), default="auto",
        help="kernels to run (default: %(default)s)",
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
        help="folder for checkpoints and metrics (default: runs/ and the first text's name)",
    )  # fmt: skip
    run.add_argument(
        "--resume", action="store_true",
        help="go on from the last checkpoint in RUN_DIR, on the same texts; "
        "training options given here replace its own",
    )  # fmt: skip
    _add_threads(run)


def _add_text_options(group: Any) -> None:
    group.add_argument(
        "paths", nargs="+", type=not_empty, metavar="PATH", help="file, folder or glob pattern"
    )
    group.add_argument(
        "--level", choices=("char", "word", "byte"), default=argparse.SUPPRESS,
        help="what a token is (default: char)",
    )  # fmt: skip
    group.add_argument(
        "--vocabulary-size", type=int, default=argparse.SUPPRESS, metavar="N",
        help=f"most words of a vocabulary, 0 for all (default: {commands.DEFAULT_WORDS})",
    )  # fmt: skip
    group.add_argument(
        "--documents", action="store_true",
        help="every file is a document: its end is learnt, and samples end there",
    )  # fmt: skip
    group.add_argument(
        "--valid", type=_fraction_or_path, default=0.05, metavar="FRACTION_OR_FILE",
        help="share of the text to validate on, cut off its end, or a file (default: %(default)s)",
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
    _add_field(group, ModelConfig, "cell", "kind of layer", choices=get_args(Cell))
    _add_field(
        group, ModelConfig, "hidden_size", "units of a layer", shown=defaults["hidden_size"]
    )
    _add_field(group, ModelConfig, "num_layers", "layers")
    _add_field(
        group, ModelConfig, "embedding_size",
        "size of the embedding of tokens, or none for one-hot tokens; the hidden size where "
        "weights are tied", type=_int_or_none, shown=defaults["embedding_size"],
    )  # fmt: skip
    _add_field(group, ModelConfig, "dropout", "share of activations dropped in training")
    _add_field(
        group, ModelConfig, "tie_weights", "use the embedding as the softmax layer's weight",
        action="store_true",
    )  # fmt: skip
    _add_field(group, ModelConfig, "seed", "of weights and dropout")


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    config = TrainingConfig
    budget = parser.add_argument_group("budget (one of them; the learning rate follows it)")
    one = budget.add_mutually_exclusive_group()
    _add_field(one, config, "epochs", "passes over the text", type=float, shown=config().epochs)
    _add_field(one, config, "steps", "updates", type=int)
    _add_field(one, config, "minutes", "time, with that before --resume", type=float)
    group = parser.add_argument_group("training")
    _add_field(group, config, "batch_size", "lanes of text that are read in parallel")
    _add_field(group, config, "seq_length", "tokens of a window")
    _add_field(group, config, "optimizer", "update rule", choices=get_args(OptimizerName))
    _add_field(group, config, "learning_rate", "at its highest")
    _add_field(group, config, "schedule", "how it falls", choices=get_args(Schedule))
    _add_field(group, config, "plateau_factor", "what a validation without gain leaves of it")
    group.add_argument(
        "--weight-decay", type=float, default=argparse.SUPPRESS, metavar="X",
        help="of the optimizer (default: its own, 0.01 for adamw, else 0)",
    )  # fmt: skip
    _add_field(group, config, "warmup", "share of the budget in which it rises")
    _add_field(group, config, "final_rate", "where it ends, beside its highest")
    _add_field(group, config, "clip_norm", "largest norm of the gradient")
    _add_field(
        group, config, "clip_value", "largest element of the gradient after that", type=float
    )
    _add_field(group, config, "accumulate", "windows whose gradients make one update")
    _add_field(group, config, "early_stopping", "validations without gain to stop at", type=int)
    watch = parser.add_argument_group("watching")
    _add_field(
        watch, config, "validate_every", "steps between validations", type=int, shown="an epoch"
    )
    _add_field(watch, config, "log_every", "steps between lines of metrics")
    _add_field(watch, config, "sample_every", "steps between samples", type=int)
    _add_field(watch, config, "sample_length", "tokens of a sample")


def _add_sample(subparsers: Any) -> None:
    parser = _command(subparsers, commands.sample, "write text with a trained model")
    _add_model(parser)
    text = parser.add_argument_group("text")
    text.add_argument(
        "--prime", default="", metavar="TEXT", help="how the text begins (default: empty)"
    )
    text.add_argument(
        "--length", type=int, default=400, metavar="N", help="tokens (default: %(default)s)"
    )
    text.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this string"
    )
    text.add_argument(
        "--count", type=int, default=1, metavar="N", help="how many (default: %(default)s)"
    )
    text.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same text")
    choice = parser.add_argument_group("choice of the next token")
    _add_field(choice, Sampling, "temperature", "below 1: bolder guesses, 0: the likeliest")
    _add_field(choice, Sampling, "top_k", "only the k likeliest, 0: all")
    _add_field(choice, Sampling, "top_p", "only the likeliest that reach this probability")
    _add_field(choice, Sampling, "min_p", "only those at least so likely, beside the likeliest")
    _add_field(choice, Sampling, "repetition_penalty", "above 1: avoid what has occurred")
    _add_field(choice, Sampling, "allow_unk", "draw the unknown token, too", action="store_true")
    output = parser.add_argument_group("output")
    output.add_argument("--stream", action="store_true", help="print while the text is made")
    output.add_argument(
        "--novelty", nargs="+", type=not_empty, metavar="PATH",
        help="also tell the longest run of tokens that stands literally in these texts",
    )  # fmt: skip
    _add_json(output)
    _add_threads(output)


def _add_evaluate(subparsers: Any) -> None:
    parser = _command(subparsers, commands.evaluate, "tell how well a model predicts texts")
    _add_model(parser)
    parser.add_argument(
        "paths", nargs="+", type=not_empty, metavar="FILE", help="file, folder or glob pattern"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N",
        help="lanes to read a text in: faster, and slightly worse (default: %(default)s)",
    )  # fmt: skip
    _add_json(parser)
    _add_threads(parser)


def _add_bench(subparsers: Any) -> None:
    text = "time the compiled kernels against the same in plain Python"
    parser = _command(subparsers, commands.bench, text)
    _add_experiments(parser)
    parser.add_argument(
        "--rounds", type=int, default=2, metavar="N",
        help="updates in plain Python, seconds each (default: %(default)s)",
    )  # fmt: skip
    _add_field(parser, Settings, "hidden_size", "units of the layer")
    _add_field(parser, Settings, "seq_length", "tokens of a window")
    _add_json(parser)


def _add_info(subparsers: Any) -> None:
    text = "tell of this machine and build, or of a model"
    parser = _command(subparsers, commands.info, text)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="model or run directory")
    _add_json(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model or run directory")
