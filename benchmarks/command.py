"""Common parts of the benchmark commands: options, threads, and the file of results."""

import json
import os
import platform
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

import fastseq
from benchmarks.timing import clock_name, use_processor_time

PEERS = ("torch", "onnxruntime", "onnx", "scipy")
PRODUCT = 2048  # rows and columns of the reference product

Row = dict[str, Any]
Named = TypeVar("Named")


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def options(description: str, rounds: int = 9) -> ArgumentParser:
    """Build a parser with the options that all commands have."""
    parser = ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument(
        "--threads", type=_threads, default=1, metavar="N", help="a number, or all"
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each side")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name contains this")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="time the processor: for one thread on a busy machine",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    return parser


def _threads(text: str) -> int:
    return processors() if text == "all" else int(text)


def start(parser: ArgumentParser, arguments: Sequence[str] | None) -> Namespace:
    """Parse the arguments, set the number of threads, print the environment."""
    args = parser.parse_args(arguments)
    if args.cpu_time:
        if args.threads > 1:
            parser.error("--cpu-time: makes sense for one thread only")
        use_processor_time()
    set_threads(args.threads)
    config = environment()
    print(f"{config['cpu']}, fastseq {config['fastseq']} ({config['backend']}), "
          f"threads {config['threads']}")  # fmt: skip
    return args


def set_threads(count: int) -> None:
    """Limit the threads of fastseq, NumPy and, if it is imported, PyTorch."""
    fastseq.set_num_threads(count)
    threadpool_limits(count, user_api="blas")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def environment() -> Row:
    """Processor, build, threads and versions, which belong to every figure."""
    pools = ThreadpoolController().info()
    return fastseq.show_config() | {
        "platform": platform.platform(),
        "processors": processors(),
        "load": os.getloadavg()[0],
        "clock": clock_name(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "libraries": {
            p["internal_api"]: f"{p['version']}, {p['num_threads']} threads" for p in pools
        },
        **{name: _version(name) for name in PEERS},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def chosen(cases: Iterable[Named], only: str, name: Callable[[Named], str] = str) -> list[Named]:
    """Select the cases whose name contains `only`.

    Raises
    ------
    SystemExit
        There are none.
    """
    cases = list(cases)
    found = [case for case in cases if only in name(case)]
    if not found:
        raise SystemExit(f"--only {only}: expected part of one of " + ", ".join(map(name, cases)))
    return found


def save(path: Path | None, rows: Sequence[Row], **more: Any) -> None:
    """Write rows and environment as JSON, if a path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"config": environment(), **more, "rows": list(rows)}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def numpy_product() -> Callable[[], object]:
    """NumPy's product of two square float32 matrices, as a reference for the machine."""
    a, b = np.random.default_rng(0).standard_normal((2, PRODUCT, PRODUCT), np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out)


NUMPY_OPERATIONS = 2 * PRODUCT**3
