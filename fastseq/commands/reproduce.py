"""`fastseq reproduce`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .._kernels import NAMES
from ..reproduce.experiments import Settings
from ..reproduce.run import reproduce
from ..text import datasets
from .experiments import add_experiments
from .options import add_field, given, not_empty

EXAMPLES = """\
examples:
  fastseq reproduce                      all four models, into reproduction/
  fastseq reproduce --corpus verne       on the published text, with its losses beside
  fastseq reproduce --updates 1000 --experiments char-lstm
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.usage, parser.epilog = "%(prog)s [options]", EXAMPLES
    selection = parser.add_argument_group("texts and experiments")
    selection.add_argument(
        "--corpus", type=not_empty, metavar="NAME_OR_DIR",
        help=f"{', '.join(datasets.NAMES)}, or a folder of texts "
        "(default: verne if it is available, else python-manual)",
    )  # fmt: skip
    add_experiments(selection)
    add_field(
        selection, Settings, "strip_licence", "leave out Project Gutenberg's header and footer, "
        "which the published program reads", action="store_true",
    )  # fmt: skip
    numbers = parser.add_argument_group("hyperparameters (the defaults are the published ones)")
    add_field(numbers, Settings, "updates", "number of windows to train on")
    add_field(numbers, Settings, "hidden_size", "size of the layer")
    add_field(numbers, Settings, "seq_length", "tokens in a window")
    add_field(numbers, Settings, "learning_rate", "learning rate of Adagrad")
    add_field(numbers, Settings, "sample_length", "tokens in a sample")
    add_field(numbers, Settings, "seed", "seed of weights and samples")
    where = parser.add_argument_group("kernels and output")
    where.add_argument(
        "--backend", choices=("auto", *NAMES), default="auto",
        help="kernels to use (default: %(default)s)",
    )  # fmt: skip
    where.add_argument(
        "--out", default="reproduction", type=not_empty, metavar="DIR",
        help="folder for curves, losses and report (default: %(default)s)",
    )  # fmt: skip


def run(args: Namespace) -> None:
    settings = Settings(**given(Settings, args))
    reproduce(args.corpus, args.experiments, settings, args.backend, args.out)
