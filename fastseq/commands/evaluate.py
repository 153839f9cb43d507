"""`fastseq evaluate`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict, replace
from pathlib import Path

from ..lm import Evaluation, LanguageModel, open_checkpoint
from ..text import Reading, find_sources
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

STREAMS, OVERLAP = 32, 512

EXAMPLES = """\
examples:
  fastseq evaluate runs/novel another-novel.txt
  fastseq evaluate runs/novel texts/ --json
  fastseq evaluate runs/novel another-novel.txt --batch-size 1    one stream, exactly
"""


EXAMPLES = """\
examples:
  fastseq evaluate runs/novel another-novel.txt
  fastseq evaluate runs/novel texts/ --json
  fastseq evaluate runs/novel another-novel.txt --batch-size 1    one stream, exactly
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.usage, parser.epilog = "%(prog)s MODEL FILE [FILE ...] [options]", EXAMPLES
    add_model(parser)
    parser.add_argument(
        "paths", nargs="+", type=not_empty, metavar="FILE", help="file, folder or glob pattern"
    )
    parser.add_argument(
        "--batch-size", type=int, default=STREAMS, metavar="N",
        help="parallel streams to read a text in, which is faster. Each but the first reads "
        f"{OVERLAP} tokens before its part for context, so that the figures hardly differ from "
        "those of 1, which reads the text once from start to end (default: %(default)s)",
    )  # fmt: skip
    add_reading(parser)
    add_json(parser)
    add_threads(parser)


def run(args: Namespace) -> None:
    use_threads(args)
    checkpoint = open_checkpoint(args.model)
    lm = LanguageModel.from_checkpoint(checkpoint)
    reading = replace(checkpoint.reading, **given(Reading, args))
    scores = {}
    for path in find_sources(args.paths):
        score = _evaluated(lm, path, reading, args.batch_size)
        scores[str(path)] = asdict(score)
        if not args.json:
            print(f"{path}: {_line(score)}", flush=True)
    if args.json:
        print_json(scores)


def _evaluated(lm: LanguageModel, path: Path, reading: Reading, batch_size: int) -> Evaluation:
    text = read_as_trained(path, lm, reading)
    try:
        with progress_bar(path.name) as progress:
            return lm.evaluate(text, batch_size=batch_size, overlap=OVERLAP, progress=progress)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _line(score: Evaluation) -> str:
    bits = score.bits_per_character
    parts = [
        f"{score.nats_per_token:.4f} nats per token",
        f"{bits:.4f} bits per character" if bits is not None else "",
        f"perplexity {score.perplexity:.4g}",
        f"{score.unknown_rate:.2%} unknown",
        f"{score.tokens:,} tokens",
    ]
    return ", ".join(filter(None, parts))
