"""Signs of life: what a living client says to its instance and to its account, so that its death is noticed.

The instance's watchdog and the account's schedule both end an instance that has not heard from its client for the
grace time. A beat that fails is no failure of the run: the next one may go better, and if none does, ending the
instance is what is wanted.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import TracebackType

from gputx.clock import Clock, Stop
from gputx.errors import GputxError, InterruptedBySignal

BEATS_PER_GRACE = 8
"""So many chances to be heard before the grace is over."""

_LEAVE_SECONDS = 3.0
"""How long the end of a run waits for a beat that is on its way, in real time."""


class Heart:
    """Calls ``beat`` at once and then again and again, in a thread, until left.

    Args:
        beat: one sign of life, given its number from 0. It may raise GputxError.
        every: seconds between two beats.
        missed: told the message when a beat fails after one that did not.
    """

    def __init__(
        self,
        beat: Callable[[int], None],
        *,
        every: float,
        clock: Clock,
        missed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._beat = beat
        self._every = every
        self._clock = clock
        self._missed = missed
        self._stop = Stop()
        self._thread = threading.Thread(target=self._live, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop.request(signal.SIGTERM)
        self._thread.join(_LEAVE_SECONDS)

    def _live(self) -> None:
        number, well = 0, True
        while not self._stop.requested:
            try:
                self._beat(number)
                well = True
            except InterruptedBySignal:
                return
            except GputxError as error:
                if well and not self._stop.requested:
                    self._missed(error.message)
                well = False
            number += 1
            try:
                self._clock.sleep(self._every, self._stop)
            except InterruptedBySignal:
                return
