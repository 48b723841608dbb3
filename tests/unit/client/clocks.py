"""A clock that only tests turn: sleeping moves it, and nothing waits."""

from __future__ import annotations

from gputx.clock import Stop


class ManualClock:
    """Implements gputx.clock.Clock."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, stop: Stop | None = None) -> None:
        if stop is not None:
            stop.check()
        self.slept.append(seconds)
        self.now += seconds
