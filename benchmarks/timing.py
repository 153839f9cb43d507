"""Timing on a noisy machine: alternating sides, medians of many calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, process_time

TURN = 0.1  # seconds of each side in a round, for at least one call

_clock = perf_counter


def use_processor_time() -> None:
    """From now on measure the processor time of this process, summed over threads.

    This is only meaningful for one thread, on a machine that is busy with other work.
    """
    global _clock
    _clock = process_time


def clock_name() -> str:
    return _clock.__name__


@dataclass
class Timing:
    """Times of one side.

    Attributes
    ----------
    rounds : list of float
        Seconds per call: the median of each round.
    calls : int
        Number of timed calls.
    """

    rounds: list[float] = field(default_factory=list)
    calls: int = 0

    @property
    def seconds(self) -> float:
        """Median of the rounds."""
        return median(self.rounds)

    def turn(self, call: Callable[[], object], seconds: float) -> None:
        """Time calls for this many seconds.

        The first call does not count if there are others: it suffers from caches that the other
        side has filled, and from threads of the other side that still spin.
        """
        durations = []
        clock, end = _clock, perf_counter() + seconds
        while not durations or perf_counter() < end:
            start = clock()
            call()
            durations.append(clock() - start)
        counted = durations[1:] or durations
        self.rounds.append(median(counted))
        self.calls += len(counted)


def interleave(
    sides: Mapping[str, Callable[[], object]], rounds: int, seconds: float = TURN
) -> dict[str, Timing]:
    """Time several sides in turns, after a warm-up.

    Every second round runs in the opposite order, so that a machine whose speed changes favours
    neither side.

    Parameters
    ----------
    sides : mapping of str to callable
    rounds : int
    seconds : float
        Length of a turn.
    """
    timings = {name: Timing() for name in sides}
    for call in sides.values():
        _warm_up(call, seconds)
    for number in range(rounds):
        for name in reversed(sides) if number % 2 else sides:
            timings[name].turn(sides[name], seconds)
    return timings


def _warm_up(call: Callable[[], object], seconds: float) -> None:
    end = perf_counter() + seconds
    call()
    while perf_counter() < end:
        call()


def ratio_range(slow: Timing, fast: Timing) -> tuple[float, float]:
    """Lowest and highest ratio of any round."""
    ratios = [a / b for a, b in zip(slow.rounds, fast.rounds, strict=True)]
    return min(ratios), max(ratios)


def fastest(
    makers: Mapping[str, Callable[[], Callable[[], object]]], seconds: float = TURN
) -> str:
    """Find the name of the fastest call; each is built, tried briefly and dropped."""
    trials = {}
    for name, make in makers.items():
        call, trial = make(), Timing()
        call()
        trial.turn(call, seconds)
        trials[name] = trial.seconds
    return min(trials, key=trials.__getitem__)
