"""How fast audio is transcribed, by a moving average over the time in which there was work."""

from __future__ import annotations

import math
from collections.abc import Callable

HALF_LIFE = 60.0
"""Seconds of work after which a measurement counts half."""
UNMEASURED = 1.0
"""Seconds of audio per second, before anything was transcribed: few machines are slower."""
LONGEST_RETRY = 3600


class Rate:
    """Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._working = 0
        self._last = 0.0
        self._audio = 0.0
        self._time = 0.0

    @property
    def value(self) -> float:
        """Seconds of audio per second."""
        return self._audio / self._time if self._time > 0 and self._audio > 0 else UNMEASURED

    def begin(self) -> None:
        """One more job is worked on."""
        if self._working == 0:
            self._last = self._clock()
        self._working += 1

    def end(self) -> None:
        """One job less."""
        self.done(0.0)
        self._working -= 1

    def done(self, seconds: float) -> None:
        """So much more audio is done."""
        now = self._clock()
        passed = max(0.0, now - self._last)
        kept = 0.5 ** (passed / HALF_LIFE)
        self._audio = self._audio * kept + seconds
        self._time = self._time * kept + passed
        self._last = now

    def until(self, seconds: float) -> int:
        """Whole seconds until so much audio will be done: 1 at least, an hour at most."""
        return max(1, min(LONGEST_RETRY, math.ceil(seconds / self.value)))
