"""Where the command starts: what takes long is imported once Ctrl-C has an answer."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # true to type checkers
if TYPE_CHECKING:
    from typing import Any

BAD_INPUT, INTERRUPTED = 2, 130


def main() -> int:
    """Run the command line; its exit status. See `fastseq.cli.main`."""
    _on_ctrl_c(_quit)
    try:
        from .cli import main as run
    except (ImportError, ValueError) as error:  # of FASTSEQ_BACKEND, or something not installed
        print(f"fastseq: error: {error}", file=sys.stderr)
        return BAD_INPUT
    try:
        _on_ctrl_c(signal.default_int_handler)
        return run()
    except KeyboardInterrupt:  # before or after the command itself
        return INTERRUPTED
    finally:
        _on_ctrl_c(_quit)


def _on_ctrl_c(handler: Any) -> None:
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, handler)


def _quit(*_: object) -> None:
    """End at once: an exception could be lost within an import, or be taken for its failure."""
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
