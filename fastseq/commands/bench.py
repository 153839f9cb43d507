"""`fastseq bench`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from .. import backend
from ..reproduce.benchmark import bench
from ..reproduce.experiments import Settings
from .experiments import add_experiments
from .options import add_field, add_json, given, print_json

EXAMPLES = """\
examples:
  fastseq bench
  fastseq bench --experiments char-lstm --rounds 5
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.usage, parser.epilog = "%(prog)s [options]", EXAMPLES
    add_experiments(parser)
    parser.add_argument(
        "--rounds", type=int, default=2, metavar="N",
        help="updates in plain Python, of several seconds each (default: %(default)s)",
    )  # fmt: skip
    add_field(parser, Settings, "hidden_size", "size of the layer")
    add_field(parser, Settings, "seq_length", "tokens in a window")
    add_json(parser)


def run(args: Namespace) -> None:
    settings = Settings(**given(Settings, args))
    timings = bench(args.experiments, args.rounds, settings=settings)
    if args.json:
        rows = [asdict(timing) | {"ratio": timing.ratio} for timing in timings]
        print_json({"config": backend.show_config(), "timings": rows})
        return
    config = backend.show_config()
    print(f"{config['cpu']}, kernels {config['backend']}, one thread")
    print(f"{'':11} {'plain Python':^22} {config['backend']:^22}")
    print(f"{'experiment':<11}" + f" {'updates/s':>10} {'tokens/s':>11}" * 2 + f" {'ratio':>8}")
    for timing in timings:
        oracle = _rates(timing.oracle_seconds, timing.tokens)
        compiled = _rates(timing.compiled_seconds, timing.tokens)
        print(f"{timing.experiment:<11} {oracle} {compiled} {timing.ratio:>7,.0f}×", flush=True)


def _rates(seconds: float, tokens: int) -> str:
    """Updates and tokens per second."""
    digits = 3 if seconds > 1 else 1
    return f"{1 / seconds:>10,.{digits}f} {tokens / seconds:>11,.0f}"
