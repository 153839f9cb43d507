"""Ctrl-C, SIGTERM and a closed terminal as a request to stop at the next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """A signal has requested to stop."""


class StopRequest:
    """Records the first signal; a second one raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._eager = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        if self._eager:
            raise Stopped

    @contextmanager
    def eagerly(self) -> Iterator[None]:
        """Raise `Stopped` within the block as soon as a signal arrives."""
        self._eager = True
        try:
            self.check()
            yield
        finally:
            self._eager = False

    def check(self) -> None:
        """Raise `Stopped` if a signal has arrived."""
        if self.signal is not None:
            raise Stopped

    def exit_error(self) -> BaseException:
        """The exception to raise once everything is saved, as if the signal had just arrived."""
        if self.signal == signal.SIGINT:
            return KeyboardInterrupt()
        return SystemExit(128 + (self.signal or 0))


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch SIGINT, SIGTERM and SIGHUP during the block (only possible in the main thread).

    SIGHUP is left alone where it is ignored, as under nohup.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, request) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
