"""Chooses the display: live on a terminal, plain lines elsewhere, almost nothing when quiet."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from gputx.cli.render.aside import Aside
from gputx.cli.render.doing import Doing
from gputx.cli.render.plain import PlainReader
from gputx.cli.say import apart, say
from gputx.events import EventStream


@dataclass
class Display:
    """Where a workflow's events go, and what a signal says."""

    events: EventStream
    say: Callable[[str], None]
    """A line among what the events show."""
    _doing: Doing

    def interrupted(self, signum: int, count: int) -> None:
        """Answer a signal at once; the clean-up it asks for is on its way."""
        name = "^C" if signum == signal.SIGINT else signal.Signals(signum).name
        if count == 1:
            again = "; press again to see what is still being done" if signum == signal.SIGINT else ""
            self.say(f"{name} stopping: what was started is ended first (seconds; it can't be skipped{again})")
        else:
            self.say(f"{name} heard: {self._doing.sentence()}")


@contextmanager
def display(*, quiet: bool) -> Iterator[Display]:
    """A display on stderr for the length of a command. Where nobody reads it, its end takes two seconds."""
    doing = Doing()
    events = EventStream([doing])
    aside = _plain(events, quiet) if quiet or sys.stderr is None or not sys.stderr.isatty() else _live(events)
    try:
        yield Display(events, aside.say, doing)
    finally:
        aside.close()


def _plain(events: EventStream, quiet: bool) -> Aside:
    tell = partial(say, file=apart())
    return Aside(events, PlainReader(tell, quiet=quiet), tell)


def _live(events: EventStream) -> Aside:
    from rich.console import Console  # noqa: PLC0415 - a terminal is there to pay for it

    from gputx.cli.render.live import LiveReader  # noqa: PLC0415

    live = LiveReader(Console(file=apart(), highlight=False))
    streams = sys.stdout, sys.stderr

    def give_up() -> None:
        # rich has them pass through itself, where the thread that is held up has the lock.
        sys.stdout, sys.stderr = streams
        live.leave(sys.stderr)

    return Aside(events, live, live.say, start=live.start, end=live.stop, give_up=give_up)
