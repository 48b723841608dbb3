"""A display in a thread of its own: whoever does not read what it shows holds up the display, and nothing else."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial

from gputx.events import Event, EventStream, PhaseProgress, Reader, SegmentReady

ROOM = 4096
PATIENCE_SECONDS = 2.0
_FLEETING = (PhaseProgress, SegmentReady)
"""What the next of its kind replaces: a display that falls behind does without them first."""


class Aside:
    """A reader of ``events`` that hands them, and words said in between, to another one in order, and never waits.

    A full pipe, or a terminal stopped with Ctrl-S, blocks whoever writes to it, for hours. The thread that has an
    instance to end must not be the one that writes.
    """

    def __init__(
        self,
        events: EventStream,
        reader: Reader,
        say: Callable[[str], None],
        *,
        start: Callable[[], None] | None = None,
        end: Callable[[], None] | None = None,
        give_up: Callable[[], None] | None = None,
    ) -> None:
        """All are called in the thread of its own, but ``give_up``: by whoever closes it, if it is not over in time."""
        self._events = events
        self._reader = reader
        self._say = say
        self._end = end
        self._give_up = give_up
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._failed = False
        self._late = threading.Event()
        self._thread = threading.Thread(target=self._work, name="aside", daemon=True)
        if start:
            self._queue.put(partial(self._attempt, start))
        events.readers.append(self)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take an event.

        Raises:
            queue.Full: nothing has been shown for thousands of events; the stream then drops this reader.
        """
        fleeting = isinstance(event, _FLEETING)
        if self._queue.qsize() < (ROOM // 2 if fleeting else ROOM):
            self._queue.put(partial(self._show, event))
        elif not fleeting:
            raise queue.Full

    def say(self, text: str) -> None:
        """Words after the events so far. Never raises: where nothing is shown any more they are lost."""
        if self._queue.qsize() < ROOM:
            self._queue.put(partial(self._tell, text))

    def close(self) -> bool:
        """Wait until all is shown, two seconds at most. False where it was given up; no more is shown then."""
        self._queue.put(None)
        self._thread.join(PATIENCE_SECONDS)
        if not self._thread.is_alive():
            return True
        self._late.set()
        if self._give_up:
            self._give_up()
        return False

    def _work(self) -> None:
        while (task := self._queue.get()) and not self._late.is_set():
            task()
        if self._end and not self._late.is_set():
            # The terminal may have gone; that is no reason to lose the outcome.
            with contextlib.suppress(OSError):
                self._end()

    def _show(self, event: Event) -> None:
        if not self._failed:
            self._attempt(partial(self._reader, event))

    def _attempt(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001 - as in the stream itself
            self._failed = True
            self._events.drop(self, error)

    def _tell(self, text: str) -> None:
        with contextlib.suppress(Exception):
            self._say(text)
