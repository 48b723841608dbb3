"""Waits measured on the sandbox's clock, which can be turned."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from pathlib import Path

_NANOSECONDS = 1_000_000_000


class Timers:
    """One queue of callbacks, due at virtual times; turning the clock makes them due at once.

    Args:
        offset: seconds by which the sandbox's clock is ahead of this machine's.
        clock_file: kept holding the offset in nanoseconds, for the ``date`` stand-in.
    """

    def __init__(self, offset: float, clock_file: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._cancelled: set[int] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._clock_file = clock_file
        self.set_offset(offset)

    def time(self) -> float:
        """Seconds since the epoch on the sandbox's clock."""
        return time.time() + self._offset

    def set_offset(self, offset: float) -> None:
        self._offset = offset
        fresh = self._clock_file.with_suffix(".new")
        fresh.write_text(f"{round(offset * _NANOSECONDS)}\n", encoding="ascii")
        fresh.replace(self._clock_file)
        self._arm()

    def call_at(self, when: float, callback: Callable[[], None]) -> int:
        """Call back once ``time()`` has reached ``when``; returns what :meth:`cancel` takes."""
        ticket = next(self._order)
        heapq.heappush(self._queue, (when, ticket, callback))
        self._arm()
        return ticket

    @property
    def due(self) -> float | None:
        """When the next callback is due; None if there is none."""
        return min((when for when, ticket, _ in self._queue if ticket not in self._cancelled), default=None)

    def cancel(self, ticket: int) -> None:
        self._cancelled.add(ticket)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._queue:
            self._handle = self._loop.call_later(max(0.0, self._queue[0][0] - self.time()), self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self.time()
        while self._queue and self._queue[0][0] <= now:
            _, ticket, callback = heapq.heappop(self._queue)
            if ticket in self._cancelled:
                self._cancelled.discard(ticket)
            else:
                callback()
        self._arm()
