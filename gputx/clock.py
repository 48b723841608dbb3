"""Time, and the wish to stop, as things that are passed in.

Nothing in gputx calls ``time.sleep`` or ``time.time`` for a decision: it asks the :class:`Clock` it was given.
So a test turns the clock by hand, and the sandbox shares one turnable clock between control plane, client and
guests.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from gputx.errors import InterruptedBySignal


class Stop:
    """Set once by a signal handler's thread; looked at by everything that waits.

    It carries the signal's number, so that whoever notices it ends with the right exit code.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signum: int | None = None

    def request(self, signum: int) -> None:
        """Ask everything that waits to stop. The first signal decides the exit code."""
        if self.signum is None:
            self.signum = signum
        self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise :class:`InterruptedBySignal` if a stop was asked for."""
        if self._event.is_set() and self.signum is not None:
            raise InterruptedBySignal(self.signum)

    def wait(self, seconds: float) -> bool:
        """Wait in real time; return at once, with True, when a stop is asked for."""
        return self._event.wait(seconds)


class Clock(Protocol):
    """Seconds since the epoch, UTC, and a wait measured by the same clock."""

    def time(self) -> float: ...

    def monotonic(self) -> float:
        """Seconds that have passed, from any start: for patience, which a clock that is set must not change."""
        ...

    def sleep(self, seconds: float, stop: Stop | None = None) -> None:
        """Wait until ``time()`` has moved on by ``seconds``.

        Raises:
            InterruptedBySignal: when ``stop`` is requested meanwhile.
        """
        ...


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float, stop: Stop | None = None) -> None:
        if stop is None:
            time.sleep(seconds)
        elif stop.wait(seconds):
            stop.check()
