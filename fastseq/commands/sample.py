"""`fastseq sample`."""

from __future__ import annotations

import argparse
import secrets
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..lm import LanguageModel, Sampling, longest_copied_run, open_checkpoint
from ..text import Corpus
from .options import (
    add_field,
    add_json,
    add_model,
    add_threads,
    given,
    not_empty,
    print_json,
    progress_bar,
    use_threads,
)

EXAMPLES = """\
examples:
  fastseq sample runs/novel --prime "The sea " --stream
  fastseq sample runs/novel --temperature 0.5,0.8,1.1       compare temperatures
  fastseq sample runs/novel --count 5 --length 80 --seed 1
  fastseq sample runs/novel --novelty my-novel.txt          is it copied?
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.usage, parser.epilog = "%(prog)s MODEL [options]", EXAMPLES
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
    group.add_argument(
        "--temperature", type=_temperatures, default=[Sampling.temperature], metavar="X,...",
        help="how bold the choice is. Lower values keep to likely tokens and repeat themselves, "
        "0 always takes the likeliest; higher values vary more and make more mistakes. Several "
        "values, as in 0.5,0.8,1.1, show a sample of each with the same seed "
        f"(default: {Sampling.temperature})",
    )  # fmt: skip
    for name, text in (
        ("top_k", "keep only the k likeliest tokens, 0: all"),
        ("top_p", "keep only the likeliest tokens that together reach this probability"),
        ("min_p", "keep only tokens with at least this fraction of the highest probability"),
        ("repetition_penalty", "above 1: avoid tokens that have occurred"),
    ):
        add_field(group, Sampling, name, text)
    add_field(group, Sampling, "allow_unk", "allow the unknown token", action="store_true")


def _temperatures(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        message = f"expected numbers with commas between them, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def run(args: Namespace) -> None:
    use_threads(args)
    if args.stream and (args.count > 1 or args.json or args.novelty):
        raise ValueError("stream: expected neither count, json nor novelty beside it")
    several = len(args.temperature) > 1
    if several and args.seed is None:
        args.seed = secrets.randbelow(1 << 31)
    options = given(Sampling, args) | {"stop": args.stop, "seed": args.seed}
    settings = [options | {"temperature": t} for t in args.temperature]
    for values in settings:  # before any of them is sampled
        Sampling(**{name: values[name] for name in values.keys() - {"stop", "seed"}})
    lm = LanguageModel.load(args.model)
    if args.json:
        results = [_sampled(lm, args, values) for values in settings]
        print_json({"seed": args.seed, "temperatures": results} if several else results[0])
        return
    for n, values in enumerate(settings):
        if several:
            print("\n" * bool(n) + f"=== temperature {values['temperature']:g}", flush=True)
        show = _stream if args.stream else _print_samples
        show(lm, args, values)
    if several:
        print(f"\n=== each with seed {args.seed}")


def _stream(lm: LanguageModel, args: Namespace, options: dict[str, Any]) -> None:
    try:
        for piece in lm.generate(args.prime, args.length, **options):
            print(piece, end="", flush=True)
    finally:
        print()


def _print_samples(lm: LanguageModel, args: Namespace, options: dict[str, Any]) -> None:
    result = _sampled(lm, args, options)
    print("\n---\n".join(result["samples"]), flush=True)
    for run in result.get("copied", ()):
        print(f"longest copied run, {run['tokens']} tokens: {run['text']!r}")


def _sampled(lm: LanguageModel, args: Namespace, options: dict[str, Any]) -> dict[str, Any]:
    """Samples at one temperature and, if requested, what they copy."""
    with progress_bar() as progress:
        texts = lm.samples(args.count, args.prime, args.length, progress=progress, **options)
    result: dict[str, Any] = {"samples": texts}
    if len(args.temperature) > 1:
        result = {"temperature": options["temperature"]} | result
    if args.novelty:
        result["copied"] = list(_copied(lm, texts, args))
    return result


def _copied(lm: LanguageModel, texts: list[str], args: Namespace) -> Iterator[dict[str, Any]]:
    """Find the longest run of each sample's tokens that occurs in the files."""
    reading = asdict(open_checkpoint(args.model).reading)
    known = Corpus.from_files(args.novelty, lm.vocabulary, **reading).tokens()
    for text in texts:
        ids = lm.vocabulary.encode(text)
        run = longest_copied_run(ids, known)
        copied = ids[run.sample_start : run.sample_start + run.length]
        yield {"tokens": run.length, "text": lm.vocabulary.decode(copied)}
