"""`fastseq bench`: compiled kernels timed against their plain-Python reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from .. import backend
from ..checks import check_int
from ..text import datasets
from .experiments import EXPERIMENTS, ExperimentRun, Settings, Task, choose, prepare

WARM_UP = 3  # updates
SECONDS = 0.3  # of compiled updates between two updates of the oracle


@dataclass(frozen=True)
class ExperimentTiming:
    """Times of one experiment with the oracle and with compiled kernels.

    Attributes
    ----------
    experiment, kernels : str
    tokens : int
        Tokens per update.
    oracle_seconds, compiled_seconds : float
        Median time of an update.
    loss_difference : float
        Largest relative difference between the two losses of a window.
    """

    experiment: str
    kernels: str
    tokens: int
    oracle_seconds: float
    compiled_seconds: float
    loss_difference: float

    @property
    def ratio(self) -> float:
        return self.oracle_seconds / self.compiled_seconds


def bench(
    experiments: Sequence[str] = tuple(EXPERIMENTS),
    rounds: int = 2,
    corpus: str | None = "python-manual",
    settings: Settings | None = None,
) -> Iterator[ExperimentTiming]:
    """Time training updates of the published experiments, oracle against compiled kernels.

    The two sides alternate, on one thread, with the same initial weights and windows.

    Parameters
    ----------
    experiments : sequence of str
    rounds : int
        Updates by the oracle, each of which takes seconds. The compiled kernels do many more
        in between.
    corpus : str, optional
        See `fastseq.text.datasets.find`.
    settings : Settings, optional

    Raises
    ------
    ValueError
        Unknown experiment, fewer than one round, or no compiled kernels to time.
    """
    settings = Settings() if settings is None else settings
    check_int("rounds", rounds, 1)
    chosen, kernels = choose(experiments), backend.get_backend()
    if kernels == "oracle":
        raise ValueError("bench: no compiled kernels are in use; see `fastseq info`")
    dataset = datasets.find(corpus)
    tasks = [prepare(experiment, dataset, settings) for experiment in chosen]
    return (_time(task, settings, kernels, rounds) for task in tasks)


def _time(task: Task, settings: Settings, kernels: str, rounds: int) -> ExperimentTiming:
    oracle, compiled = _Side(task, settings, "oracle"), _Side(task, settings, kernels)
    compiled.run(WARM_UP)
    compiled.seconds.clear()
    for _ in range(rounds):
        oracle.run(1)
        compiled.run_for(SECONDS)
    pairs = zip(oracle.losses, compiled.losses, strict=False)
    difference = max(abs(a - b) / a for a, b in pairs)
    return ExperimentTiming(
        task.experiment.name, kernels, settings.seq_length,
        median(oracle.seconds), median(compiled.seconds), difference,
    )  # fmt: skip


class _Side:
    """An experiment on one kind of kernels, timed update by update."""

    def __init__(self, task: Task, settings: Settings, kernels: str) -> None:
        self.experiment, self.kernels = ExperimentRun(task, settings), kernels
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def run(self, updates: int) -> None:
        with backend.one_thread(self.kernels):
            for _ in range(updates):
                start = perf_counter()
                self.losses.append(self.experiment.update())
                self.seconds.append(perf_counter() - start)

    def run_for(self, seconds: float) -> None:
        end = perf_counter() + seconds
        while perf_counter() < end:
            self.run(1)
