"""Entry point of the command: handles Ctrl-C before any slow import."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # true to type checkers
if TYPE_CHECKING:
    from typing import Any

BAD_INPUT, INTERRUPTED = 2, 130


def main() -> int:
    """Run the command line and return its exit status; see `fastseq.cli.run`."""
    _on_ctrl_c(_quit)
    try:
        from .cli import parse, run

        args = parse()  # imports everything that the command needs
    except (ImportError, ValueError) as error:  # from FASTSEQ_BACKEND, or a missing package
        print(f"fastseq: error: {error}", file=sys.stderr)
        return BAD_INPUT
    try:
        _on_ctrl_c(signal.default_int_handler)
        return run(args)
    except KeyboardInterrupt:  # just before or after the command itself
        return INTERRUPTED
    finally:
        _on_ctrl_c(_quit)


def _on_ctrl_c(handler: Any) -> None:
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # ignored in a background job
        signal.signal(signal.SIGINT, handler)


def _quit(*_: object) -> None:
    """Exit at once: an import could swallow an exception, or seem to fail because of it."""
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
