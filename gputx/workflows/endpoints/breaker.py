"""A circuit breaker: who has failed again and again is left alone for a while, then tried by one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum

FAILURES = 3
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0


class Circuit(StrEnum):
    """CLOSED lets all through, OPEN nobody, HALF_OPEN one at a time, to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Safe from any thread.

    Args:
        now: seconds that have passed, from any start.
        failures: so many in a row open it; one does where it was half open.
    """

    def __init__(self, now: Callable[[], float], *, failures: int = FAILURES) -> None:
        self._now = now
        self._most = failures
        self._lock = threading.Lock()
        self._failed = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._open_until: float | None = None
        self._trying = False

    @property
    def circuit(self) -> Circuit:
        with self._lock:
            return self._circuit()

    @property
    def opens_in(self) -> float:
        """Seconds until somebody is let through again; 0 where that is now."""
        with self._lock:
            return 0.0 if self._open_until is None else max(0.0, self._open_until - self._now())

    def let_through(self) -> bool:
        """Whether a request may be sent now. Who is let through says afterwards how it went."""
        with self._lock:
            match self._circuit():
                case Circuit.CLOSED:
                    return True
                case Circuit.HALF_OPEN if not self._trying:
                    self._trying = True
                    return True
                case _:
                    return False

    def succeeded(self) -> None:
        """It closes."""
        with self._lock:
            self._failed, self._trying, self._open_until = 0, False, None
            self._pause = FIRST_PAUSE_SECONDS

    def failed(self) -> None:
        """It opens where a trial failed, or too many have in a row; each time for twice as long.

        What was let through before it opened, and fails after, tells nothing new: many at once are one outage.
        """
        with self._lock:
            if self._open_until is not None and not self._trying:
                return
            self._failed += 1
            if self._trying or self._failed >= self._most:
                self._open_until = self._now() + self._pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._trying = False

    def _circuit(self) -> Circuit:
        if self._open_until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self._now() < self._open_until else Circuit.HALF_OPEN
