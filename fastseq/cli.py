"""The command line: the parser, exit statuses and error messages."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from . import commands
from ._version import __version__

FAILED, BAD_INPUT, INTERRUPTED, CLOSED_PIPE = 1, 2, 130, 141
# Errors of the machine. Every other OSError is an error in the arguments.
MACHINE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ENOMEM}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse arguments and run their command; see `parse` and `run`."""
    return run(parse(arguments))


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """Parse arguments, which imports the module of their command and no other.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Raises
    ------
    SystemExit
        For wrong arguments, after an error message, and for ``--help`` and ``--version``.
    ImportError, ValueError
        A package is missing, or FASTSEQ_BACKEND is wrong.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # print on any terminal
    return make_parser().parse_args(arguments)


def run(args: Namespace) -> int:
    """Run a command.

    Returns
    -------
    int
        Exit status: 0, 1 failed, 2 bad input, 130 interrupted, 141 pipe closed, 143 terminated.
    """
    try:
        status: int | None = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return _complain(args, "interrupted", INTERRUPTED)
    except (ArithmeticError, MemoryError, RuntimeError) as error:
        return _complain(args, error, BAD_INPUT if _is_in_use(error) else FAILED)
    except OSError as error:
        status = FAILED if error.errno in MACHINE_ERRORS else BAD_INPUT
        return _complain(args, _system_error(error), status)
    except (ValueError, ImportError) as error:
        return _complain(args, error, BAD_INPUT)
    return status or 0


def _complain(args: Namespace, message: object, status: int) -> int:
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


def _is_in_use(error: Exception) -> bool:
    """Whether another process trains in the directory of a run."""
    from .training import RunInUseError  # slow to import, unless the command has done so

    return isinstance(error, RunInUseError)


def _system_error(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


EXAMPLES = """\
examples:
  fastseq train my-novel.txt --minutes 5 --out runs/novel
  fastseq sample runs/novel --prime "The sea "
  fastseq evaluate runs/novel another-novel.txt
  fastseq train --help              options and examples of a command
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that reports errors on one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            status = CLOSED_PIPE
        super().exit(status, message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Suggest the nearest choice."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            known = [str(choice) for choice in action.choices or ()]
            error.message += _did_you_mean(str(value), known)
            raise


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of examples, and most names of options beside their help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


class CommandParser(Parser):
    """The parser of one command, whose arguments are added once they are needed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._loaded = self._intermixed = False

    def load(self) -> None:
        """Import the command's module and add its arguments."""
        if self._loaded:
            return
        self._loaded = True
        name = self.prog.rpartition(" ")[2].replace("-", "_")
        module = import_module(f"{commands.__name__}.{name}")
        module.add_arguments(self)
        self.set_defaults(run=module.run)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._intermixed:  # called by `parse_known_intermixed_args`
            return super().parse_known_args(args, namespace)
        self.load()
        self._intermixed = True  # files may be named before and after options
        parsed, unknown = self.parse_known_intermixed_args(args, namespace)
        if unknown:  # here, because the main parser does not know the options
            options = [flag for flag in self._option_string_actions if flag.startswith("--")]
            hint = _did_you_mean(unknown[0].partition("=")[0], options)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed, unknown


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of an error message that suggests the nearest known word, if any is near."""
    matches = get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]}?" if matches else ""


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = Parser(
        prog="fastseq", usage="%(prog)s COMMAND [options]",
        description="Recurrent language models, fast on a CPU.", epilog=EXAMPLES,
    )  # fmt: skip
    parser.add_argument("-V", "--version", action="version", version=f"fastseq {__version__}")
    subparsers = parser.add_subparsers(
        prog="fastseq", title="commands", dest="command", required=True, metavar="COMMAND",
        parser_class=CommandParser,
    )  # fmt: skip
    for name, text in commands.COMMANDS.items():
        subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser
