"""`fastseq evaluate`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..lm import Evaluation, LanguageModel
from ..text import find_sources, read_text
from .options import add_json, add_model, add_threads, not_empty, print_json, use_threads


def add_arguments(parser: ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "paths", nargs="+", type=not_empty, metavar="FILE", help="file, folder or glob pattern"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N",
        help="parallel streams to read a text in: faster, with slightly worse scores "
        "(default: %(default)s)",
    )  # fmt: skip
    add_json(parser)
    add_threads(parser)


def run(args: Namespace) -> None:
    use_threads(args)
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
            print(f"{path}: {_line(score)}")
    if args.json:
        print_json(scores)


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
