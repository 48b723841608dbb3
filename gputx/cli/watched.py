"""What every command that transcribes has in common: it is watched while it works, and how it ended is said at last."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TypeVar

from gputx.cli.say import say
from gputx.clock import Stop
from gputx.events import EventStream
from gputx.models import RunReport

R = TypeVar("R")


def watched(workflow: Callable[[EventStream, Stop], R], *, quiet: bool, last: bool = True) -> R:
    """Do the work under a display, in a thread that no signal can break into.

    Args:
        last: nothing is done afterwards but to tell of it.
    """
    from gputx.cli.render import show  # noqa: PLC0415 - commands load what they need when they run
    from gputx.cli.render.log import LogLines  # noqa: PLC0415
    from gputx.lease.interrupts import supervise  # noqa: PLC0415

    with show.display(quiet=quiet) as display:
        if "--debug" in sys.argv:
            logging.basicConfig(level=logging.INFO, handlers=[LogLines(display.say)])
        return supervise(lambda stop: workflow(display.events, stop), on_signal=display.interrupted, last=last)


def told(results: Callable[[], None], run: RunReport, *, quiet: bool) -> None:
    """Print results, and the receipt on stderr. Raises what ended the run early."""
    from gputx.cli.render import receipt  # noqa: PLC0415 - commands load what they need when they run

    try:
        results()
    finally:
        # Whatever becomes of the results on stdout: how it ended, and what may still run, has to be said.
        if not quiet:
            say(f"  {receipt.receipt(run)}")
        if run.ending:
            raise run.ending
