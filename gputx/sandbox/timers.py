"""What is to happen at a time: one wheel on the sandbox's clock for every timed thing in the account."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from gputx.sandbox.clock import SandboxClock

log = logging.getLogger(__name__)

# How late a timer may fire when only time passes; a turn of the clock fires it at once.
RESOLUTION_SECONDS = 0.02

Callback = Callable[[float], None]


@dataclass(order=True)
class Timer:
    """A callback due at a time; ``cancel`` makes it never fire."""

    due: float
    sequence: int
    callback: Callback = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class Timers:
    """Callbacks in the order of their due times, each called under ``lock`` with the time it was due.

    While it runs, :meth:`now` is the time it was due, and what it starts counts from there: so a clock turned
    an hour forward gives the same history as an hour that passed.
    """

    def __init__(self, clock: SandboxClock, lock: threading.RLock) -> None:
        self._clock = clock
        self._lock = lock
        self._heap: list[Timer] = []
        self._sequence = itertools.count()
        self._stopped = threading.Event()
        self._firing: float | None = None

    def now(self) -> float:
        """The time of whatever is happening: while a timer fires, the time it was due; else the clock's.

        Ask under the lock.
        """
        return self._clock.time() if self._firing is None else self._firing

    def at(self, due: float, callback: Callback) -> Timer:
        """Call ``callback(due)`` once the clock has reached ``due`` (seconds since the epoch)."""
        timer = Timer(due, next(self._sequence), callback)
        with self._lock:
            heapq.heappush(self._heap, timer)
        return timer

    def later(self, seconds: float, callback: Callback) -> Timer:
        """Call ``callback`` once ``seconds`` have passed from what the clock shows, whatever is being fired now.

        For what waits for something real: between the attempts others get the lock.
        """
        return self.at(self._clock.time() + seconds, callback)

    def next_due(self) -> float | None:
        """When the next timer is due; None if there is none."""
        with self._lock:
            while self._heap and self._heap[0].cancelled:
                heapq.heappop(self._heap)
            return self._heap[0].due if self._heap else None

    def run_due(self) -> None:
        """Fire everything that is due, and everything that becomes due by that."""
        with self._lock:
            while self._heap and self._heap[0].due <= self._clock.time():
                timer = heapq.heappop(self._heap)
                if timer.cancelled:
                    continue
                self._firing = timer.due
                try:
                    timer.callback(timer.due)
                except Exception:  # one failing transition must not stop the account's time
                    log.exception("a timer failed")
                finally:
                    self._firing = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="timers", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(RESOLUTION_SECONDS):
            # Looking without the lock is enough to know whether taking it is worth while.
            head = self._heap[:1]
            if head and head[0].due <= self._clock.time():
                self.run_due()
