"""The entry point. The overview of ``gputx --help`` is a file: printing it imports nothing, not even click.

``overview.txt`` is what click renders for the group; a test holds the two against each other, and
``make overview`` writes it anew.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

OVERVIEW = Path(__file__).with_name("overview.txt")


def main() -> int:
    """Run the command line and return its exit code."""
    # A shell that asks for completions calls gputx without arguments, too.
    if sys.argv[1:] in ([], ["-h"], ["--help"]) and "_GPUTX_COMPLETE" not in os.environ:
        try:
            sys.stdout.write(OVERVIEW.read_text(encoding="utf-8"))
            sys.stdout.flush()
        except (OSError, AttributeError):  # a full disk, a reader that left; None where stdout is closed
            os._exit(1)
        return 0
    # Until a command takes its signals over, Ctrl-C ends us as TERM does: at once, and without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from gputx.cli.group import execute  # noqa: PLC0415 - only what is not the overview pays for click

    return execute()
