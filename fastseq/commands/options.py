"""Options that several commands share, and what follows from them."""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from .. import backend
from ..text import Reading, read_documents

if TYPE_CHECKING:
    from ..lm import LanguageModel


def not_empty(text: str) -> str:
    """Parse the name of a file or folder; an unset shell variable leaves it empty."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got an empty string")
    return text


def names(text: str) -> list[str]:
    """Parse names that are separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def add_field(group: Any, cls: type[Any], name: str, text: str, **options: Any) -> None:
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


def given(cls: type[Any], args: Namespace) -> dict[str, Any]:
    """Fields of a dataclass that are given on the command line."""
    return {f.name: getattr(args, f.name) for f in fields(cls) if hasattr(args, f.name)}


DOCUMENTS = (
    "KIND is files (also without KIND), lines, or csv:COLUMN for a column of comma-separated "
    "values: its name in the first row, or its number from 1 if there is no such row"
)


def documents(text: str) -> str:
    """Parse a division into documents."""
    try:
        return Reading(text).documents or ""
    except ValueError as error:
        reason = str(error).removeprefix("documents: ")
        raise argparse.ArgumentTypeError(f"{reason} (texts come before this option)") from None


def encoding(text: str) -> str:
    """Parse the name of a text encoding."""
    try:
        return Reading(encoding=text).encoding
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("encoding: ")) from None


def add_encoding(group: Any, text: str, default: str = "utf-8") -> None:
    group.add_argument(
        "--encoding", type=encoding, default=argparse.SUPPRESS, metavar="NAME",
        help=f"{text}, such as utf-8, cp1252 or utf-16 (default: {default})",
    )  # fmt: skip


def add_reading(group: Any) -> None:
    """Add what says how a text is read by a model that was trained on others."""
    group.add_argument(
        "--documents", nargs="?", const="files", type=documents, default=argparse.SUPPRESS,
        metavar="KIND",
        help=f"divide a text into documents. {DOCUMENTS} (default: as in training)",
    )  # fmt: skip
    add_encoding(group, "the texts' encoding", "that of the training text")


def read_as_trained(path: Path, lm: LanguageModel, reading: Reading) -> str | list[str]:
    """The text of a file, or its documents where a file holds several."""
    errors = lm.vocabulary.text_errors
    found = read_documents([path], separator="", errors=errors, reading=reading)
    texts = ["".join(document) for document in found]
    return texts if reading.has_records else texts[0]


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model file or run directory")


def add_threads(group: Any) -> None:
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="largest number of threads (default: OMP_NUM_THREADS, else all processors)",
    )


def use_threads(args: Namespace) -> None:
    if args.threads is not None:
        backend.check_threads("threads", args.threads)
        backend.set_num_threads(args.threads)


def add_json(group: Any) -> None:
    group.add_argument("--json", action="store_true", help="print JSON")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


@contextmanager
def progress_bar(text: str = "", delay: float = 1.0) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while the block runs, if it takes more than `delay` seconds.

    Yields
    ------
    callable
        To be called with the number of tokens done so far, and of all.
    """
    with tqdm(
        desc=text, unit=" tokens", unit_scale=True, leave=False, delay=delay,
        mininterval=min(delay, 0.1), dynamic_ncols=True, disable=None,
    ) as bar:  # fmt: skip

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
