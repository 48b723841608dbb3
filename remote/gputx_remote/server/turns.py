"""Whose turn it is where there are few places and many who wait."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

SMALL_BYTES = 16 << 20
"""Ten minutes of speech as FLAC, or a quarter of an hour as MP3: below it a file is small."""
BYTES_A_SECOND = 2 << 20
"""About what decoding takes of MP3; it only orders those that wait."""


@dataclass(eq=False)
class _Waiting:
    owner: str
    size: int
    since: float
    begun: asyncio.Future[None]

    @property
    def small(self) -> bool:
        return self.size < SMALL_BYTES


class Turns:
    """Places given to owners in turn. Of one owner's files that goes first which would have been done first if all had
    begun when they came, so that small ones go before large ones and none waits for ever. Where there are two places or
    more, one is for small files only. Used from one event loop at a time."""

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            places: how many at once.
            clock: seconds.
        """
        self._places = places
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._running: list[_Waiting] = []
        self._served: Counter[str] = Counter()
        """When an owner's turn was last, in turns; of those who wait or run."""
        self._turn = 0

    @asynccontextmanager
    async def turn(self, owner: str, size: int) -> AsyncIterator[None]:
        """A place, for the length of a block.

        Args:
            owner: whose it is.
            size: bytes of the file.
        """
        one = _Waiting(owner, size, self._clock(), asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._begin()
        try:
            await one.begun
            yield
        finally:
            (self._running if one in self._running else self._waiting).remove(one)
            self._begin()

    def _begin(self) -> None:
        while (one := self._next()) is not None:
            self._waiting.remove(one)
            self._running.append(one)
            self._turn += 1
            self._served[one.owner] = self._turn
            if not one.begun.done():  # or it was given up a moment ago, and makes room in the next
                one.begun.set_result(None)
        present = {one.owner for one in (*self._waiting, *self._running)}
        for owner in [*self._served]:
            if owner not in present:
                del self._served[owner]

    def _next(self) -> _Waiting | None:
        if len(self._running) >= self._places:
            return None
        large = sum(not one.small for one in self._running)
        room = large < max(1, self._places - 1)
        able = [one for one in self._waiting if one.small or room]
        at_work = Counter(one.owner for one in self._running)
        return min(
            able,
            key=lambda one: (at_work[one.owner], self._served[one.owner], one.since + one.size / BYTES_A_SECOND),
            default=None,
        )
