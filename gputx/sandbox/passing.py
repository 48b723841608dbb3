"""Turning the clock so that it is time passing: for the control plane's timers and for every guest's."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from gputx.sandbox.clock import SandboxClock
from gputx.sandbox.guests import GuestHost
from gputx.sandbox.timers import Timers

# Half of this may go into stopping wherever something is due. Then the stops are spread over what is left of the
# turn, so that a guest that sleeps a second at a time can't make a turn of a day last an hour.
_REAL_SECONDS = 6.0
# A boot takes about a second of real time: it is waited for only where more than that is to pass.
_BOOT_SECONDS = 2.0


class Passing:
    """Turns the clock in steps, from one thing that is due to the next, each done before the next step.

    Args:
        turn: sets the offset of the clock and fires the control plane's timers that are due by it.
    """

    def __init__(self, clock: SandboxClock, timers: Timers, guests: GuestHost, turn: Callable[[float], None]) -> None:
        self._clock = clock
        self._timers = timers
        self._guests = guests
        self._turn = turn
        self._lock = threading.Lock()

    def advance(self, seconds: float) -> float:
        """Let ``seconds`` pass beside the real time this takes; returns the new offset.

        Not to be called under the account's lock: a guest that powers itself off on the way needs it.
        """
        with self._lock:
            begun = time.monotonic()
            target = self._clock.offset + seconds
            self._turn(self._clock.offset)
            steps = 0
            while True:
                left = target - self._clock.offset
                guests_due = self._guests.settle(boots=left > _BOOT_SECONDS)
                if left <= 0:
                    return target
                steps += 1
                spent = time.monotonic() - begun
                due = min((due for due in (guests_due, self._timers.next_due()) if due is not None), default=math.inf)
                step = max(due - self._clock.time(), _stride(left, spent, steps), 0.0)
                self._turn(target if step >= left else self._clock.offset + step)


def _stride(left: float, spent: float, steps: int) -> float:
    """The least that a step may be, so that the turn does not take longer than it should."""
    if spent < _REAL_SECONDS / 2:
        return 0.0
    possible = (_REAL_SECONDS - spent) / (spent / steps)
    return left / max(possible, 1.0)
