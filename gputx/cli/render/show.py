"""Chooses the display: live on a terminal, plain lines elsewhere, almost nothing when quiet."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gputx.cli.render.doing import Doing
from gputx.cli.render.plain import PlainReader
from gputx.cli.say import say
from gputx.events import EventStream


@dataclass
class Display:
    """Where a workflow's events go, and what a signal says."""

    events: EventStream
    _say: Callable[[str], None]
    _doing: Doing

    def interrupted(self, signum: int, count: int) -> None:
        """Answer a signal at once; the clean-up it asks for is on its way."""
        name = "^C" if signum == signal.SIGINT else signal.Signals(signum).name
        if count == 1:
            again = "; press again to see what is still being done" if signum == signal.SIGINT else ""
            self._say(f"{name} stopping: what was started is ended first (seconds; it can't be skipped{again})")
        else:
            self._say(f"{name} heard: {self._doing.sentence()}")


@contextmanager
def display(*, quiet: bool) -> Iterator[Display]:
    """A display on stderr for the length of a command."""
    doing = Doing()
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield Display(EventStream([doing, PlainReader(say, quiet=quiet)]), say, doing)
        return
    from rich.console import Console  # noqa: PLC0415 - a terminal is there to pay for it

    from gputx.cli.render.live import LiveReader  # noqa: PLC0415

    live = LiveReader(Console(stderr=True, highlight=False))
    live.start()
    try:
        yield Display(EventStream([doing, live]), live.say, doing)
    finally:
        # The terminal may have gone; that is no reason to lose the outcome.
        with contextlib.suppress(OSError):
            live.stop()
