"""`fastseq inspect`."""

from __future__ import annotations

import errno
import os
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..inspection.contents import QUANTITIES
from ..inspection.inspector import MAX_TOKENS, RANKED_TOKENS, Inspection, check_view, inspect
from ..lm import LanguageModel, open_checkpoint
from ..text import Reading
from .options import (
    add_json,
    add_model,
    add_reading,
    add_threads,
    given,
    not_empty,
    print_json,
    progress_bar,
    read_as_trained,
    use_threads,
)

DEFAULT_PAGE = "inspection.html"

EXAMPLES = """\
examples:
  fastseq inspect runs/novel another-novel.txt -o page.html
  fastseq inspect runs/novel another-novel.txt --quantity c --unit 7
  fastseq inspect runs/novel another-novel.txt --no-gates --json
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.usage, parser.epilog = "%(prog)s MODEL TEXT [options]", EXAMPLES
    add_model(parser)
    parser.add_argument("text", type=not_empty, metavar="TEXT", help="file that the model reads")
    add_reading(parser)
    _add_part(parser.add_argument_group("part of the text"))
    _add_view(parser.add_argument_group("what the page shows at first"))
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o", "--out", type=not_empty, default=DEFAULT_PAGE, metavar="PAGE",
        help="page to write (default: %(default)s)",
    )  # fmt: skip
    add_json(output)
    add_threads(parser)


def _add_part(group: Any) -> None:
    group.add_argument(
        "--start", type=int, default=0, metavar="N",
        help="tokens before those that are shown; of these it reads the last 2000 "
        "(default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--max-tokens", type=int, default=MAX_TOKENS, metavar="N",
        help="largest number of tokens to show (default: %(default)s, fewer for a large model)",
    )  # fmt: skip
    group.add_argument(
        "--ranked-tokens", type=int, default=RANKED_TOKENS, metavar="N",
        help="largest number of tokens by which units are ranked (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--no-gates", action="store_true",
        help="leave out the gates, so that more tokens fit on the page",
    )  # fmt: skip


def _add_view(group: Any) -> None:
    best = "(default: that of a unit which follows a feature of the text well)"
    group.add_argument("--layer", type=int, metavar="N", help=f"layer, from 0 {best}")
    group.add_argument("--unit", type=int, metavar="N", help=f"unit, from 0 {best}")
    group.add_argument("--quantity", choices=QUANTITIES, help=f"state or gate {best}")


def run(args: Namespace) -> None:
    use_threads(args)
    _check_out(Path(args.out), args)
    checkpoint = open_checkpoint(args.model)
    lm = LanguageModel.from_checkpoint(checkpoint)
    check_view(lm, args.layer, args.unit, args.quantity, not args.no_gates)
    reading = replace(checkpoint.reading, **given(Reading, args))
    text = read_as_trained(Path(args.text), lm, reading)
    try:
        inspection = _inspect(lm, text, args)
    except ValueError as error:
        raise ValueError(f"{args.text}: {error}") from None
    title = f"{Path(args.model).name} reads {Path(args.text).name}"
    inspection.write(
        args.out, title=title, layer=args.layer, unit=args.unit, quantity=args.quantity
    )
    if args.json:
        facts = {"page": args.out, "notes": inspection.notes}
        print_json(facts | {"rankings": inspection.ranking_as_json()})
        return
    _print_table(inspection)
    size = Path(args.out).stat().st_size
    print(*(f"{note[0].upper()}{note[1:]}." for note in inspection.notes))
    print(f"Page: {args.out}, {size / 1e6:.1f} MB. Open it in a browser.")


def _check_out(out: Path, args: Namespace) -> None:
    """Refuse a page that could not be written, before anything is read."""
    for wrong, code in ((out.is_dir(), errno.EISDIR), (not out.parent.is_dir(), errno.ENOENT)):
        if wrong:
            raise OSError(code, os.strerror(code), args.out)
    for source in (args.text, args.model):
        if out.exists() and Path(source).exists() and out.samefile(source):
            raise ValueError(f"out: expected a new file, got {source}")


def _inspect(lm: LanguageModel, text: str | list[str], args: Namespace) -> Inspection:
    with progress_bar(Path(args.text).name) as progress:
        return inspect(
            lm,
            text,
            start=args.start,
            max_tokens=args.max_tokens,
            ranked_tokens=args.ranked_tokens,
            gates=not args.no_gates,
            progress=progress,
        )


def _print_table(inspection: Inspection) -> None:
    """The best three units for each feature."""
    if not inspection.rankings:
        return
    print(f"{'feature':<18} {'chance':>6}   units: state, layer:unit and correlation")
    for ranking in inspection.best_units():
        units = "   ".join(
            f"{ranking.quantity} {unit.layer}:{unit.unit:<4} {unit.correlation:+.2f}"
            for unit in ranking.units[:3]
        )
        print(f"{ranking.feature:<18} {ranking.chance:>6.2f}   {units}")
