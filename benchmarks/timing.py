"""Timing that stands up to a noisy machine: all sides in turns, medians of many calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, process_time

TURN = 0.1  # seconds that a side has in each round, at least one call

_clock = perf_counter


def use_processor_time() -> None:
    """From now on time what the processor spends on this process, all threads together.

    That tells of work on one thread while others use the machine, and of nothing else.
    """
    global _clock
    _clock = process_time


def clock_name() -> str:
    return _clock.__name__


@dataclass
class Timing:
    """What one side took.

    Attributes
    ----------
    rounds : list of float
        Seconds of a call: the median of each round.
    calls : int
        How many were timed.
    """

    rounds: list[float] = field(default_factory=list)
    calls: int = 0

    @property
    def seconds(self) -> float:
        """Median of the rounds."""
        return median(self.rounds)

    def turn(self, call: Callable[[], object], seconds: float) -> None:
        """Time calls for a while.

        The first does not count where there are others: it pays for caches that the other
        side has filled, and for threads of the other side that still spin.
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

    Every second round runs in the opposite order, so that a machine that slows down or speeds
    up meanwhile favours nobody.

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
    """Name of the call that takes least; each is made, tried for a moment and dropped."""
    trials = {}
    for name, make in makers.items():
        call, trial = make(), Timing()
        call()
        trial.turn(call, seconds)
        trials[name] = trial.seconds
    return min(trials, key=trials.__getitem__)
