"""`fastseq sample`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from ..lm import LanguageModel, Sampling, longest_copied_run
from ..text import Corpus
from .options import (
    add_field,
    add_json,
    add_model,
    add_threads,
    given,
    not_empty,
    print_json,
    use_threads,
)


def add_arguments(parser: ArgumentParser) -> None:
    add_model(parser)
    _add_prime_options(parser.add_argument_group("text"))
    _add_choice_options(parser.add_argument_group("choice of the next token"))
    output = parser.add_argument_group("output")
    output.add_argument("--stream", action="store_true", help="print text as it is generated")
    output.add_argument(
        "--novelty", nargs="+", type=not_empty, metavar="PATH",
        help="also report the longest run of tokens that is copied literally from these texts",
    )  # fmt: skip
    add_json(output)
    add_threads(output)


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
        add_field(group, Sampling, name, text)
    add_field(group, Sampling, "allow_unk", "allow the unknown token", action="store_true")


def run(args: Namespace) -> None:
    use_threads(args)
    lm = LanguageModel.load(args.model)
    options = given(Sampling, args) | {"stop": args.stop, "seed": args.seed}
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
        print_json({"samples": texts} | ({"copied": copied} if copied else {}))
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
