"""How a workflow tells what it does: phases with times, notes and attempts, all into one event stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gputx.clock import Clock
from gputx.events import AttemptMade, Event, EventStream, Note, OutputLine, PhaseFinished, PhaseProgress, PhaseStarted
from gputx.models import Attempt, Phase


class OpenPhase:
    """A stretch of work that has begun: say how far it is, and what came of it. Closing it twice is once."""

    def __init__(self, story: Story, name: str, detail: str) -> None:
        self._story = story
        self._name = name
        self._start = story.clock.time()
        self._closed = False
        self.detail = ""
        story.emit(PhaseStarted(self._start, name, detail))

    def progress(self, done: float, total: float, unit: str) -> None:
        """``unit`` is "bytes" or "seconds" (of audio)."""
        self._story.emit(PhaseProgress(self._story.clock.time(), self._name, done, total, unit, self.detail))

    def close(self, *, ok: bool = True) -> None:
        if not self._closed:
            self._closed = True
            end = self._story.clock.time()
            self._story.record(Phase(self._name, self._start, end))
            self._story.emit(PhaseFinished(end, self._name, self._start, ok, self.detail))


class Story:
    """The teller of one command. Phases may overlap and may be told from several threads."""

    def __init__(self, events: EventStream, clock: Clock) -> None:
        self.clock = clock
        self._events = events
        self._lock = threading.Lock()
        self._phases: list[Phase] = []

    @property
    def phases(self) -> list[Phase]:
        """Phases that have ended, in the order in which they began."""
        with self._lock:
            return sorted(self._phases, key=lambda phase: phase.start)

    def record(self, phase: Phase) -> None:
        with self._lock:
            self._phases.append(phase)

    def emit(self, event: Event) -> None:
        self._events.emit(event)

    def open(self, name: str, detail: str = "") -> OpenPhase:
        """Begin a phase that something else than a block of code will close."""
        return OpenPhase(self, name, detail)

    @contextmanager
    def phase(self, name: str, detail: str = "") -> Iterator[OpenPhase]:
        """A phase round a block of code. It ends ``ok`` unless an exception leaves the block."""
        phase = self.open(name, detail)
        try:
            yield phase
        except BaseException:
            phase.close(ok=False)
            raise
        phase.close()

    def note(self, text: str) -> None:
        self.emit(Note(self.clock.time(), text))

    def warn(self, text: str) -> None:
        self.emit(Note(self.clock.time(), text, "warning"))

    def line(self, source: str, text: str) -> None:
        """What a program elsewhere has written."""
        self.emit(OutputLine(self.clock.time(), source, text))

    def attempt(self, attempt: Attempt) -> None:
        self.emit(AttemptMade(attempt.end, str(attempt.pool), attempt.code, attempt.outcome))
