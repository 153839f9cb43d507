"""The option `--experiments` of `reproduce` and `bench`."""

from __future__ import annotations

from typing import Any

from ..reproduce.experiments import EXPERIMENTS
from .options import names


def add_experiments(group: Any) -> None:
    known = ",".join(EXPERIMENTS)
    group.add_argument(
        "--experiments", type=names, default=list(EXPERIMENTS), metavar="NAME,...",
        help=f"experiments to run (default: {known})",
    )  # fmt: skip
