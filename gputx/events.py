"""One stream of events that tells the story of a command as it happens.

The live display, the plain log lines, ``--json`` and the phase times are all readers of it. Workflows emit;
they never print. A reader that fails is dropped: a broken terminal must not decide whether an instance ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """Base of all events. ``time`` is seconds since the epoch on the run's clock."""

    time: float


@dataclass(frozen=True)
class PlanMade(Event):
    """What is about to happen: inputs, audio seconds, expected place and price."""

    inputs: tuple[str, ...]
    audio_seconds: float
    language: str
    place: str


@dataclass(frozen=True)
class PhaseStarted(Event):
    name: str
    detail: str = ""


@dataclass(frozen=True)
class PhaseProgress(Event):
    """``done`` of ``total`` in ``unit`` ("bytes" or "seconds" of audio)."""

    name: str
    done: float
    total: float
    unit: str
    detail: str = ""


@dataclass(frozen=True)
class PhaseFinished(Event):
    name: str
    start: float
    ok: bool = True
    detail: str = ""


@dataclass(frozen=True)
class AttemptMade(Event):
    """A pool was tried. ``code`` is None where it gave an instance."""

    pool: str
    code: str | None
    outcome: str


@dataclass(frozen=True)
class OutputLine(Event):
    """A line that a program elsewhere has written; ``source`` says which."""

    source: str
    text: str


@dataclass(frozen=True)
class SegmentReady(Event):
    """A timed piece of text, in order. Times are milliseconds from the start of the file."""

    input: str
    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True)
class FileFinished(Event):
    input: str
    error: str | None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note(Event):
    """Something a person should know that is no failure (a fallback, a thing skipped)."""

    text: str
    level: str = "info"  # "info" or "warning"


Reader = Callable[[Event], None]


@dataclass
class EventStream:
    """Hands each event to each reader, in order, from whichever thread emits it."""

    readers: list[Reader] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def emit(self, event: Event) -> None:
        """Never raises: a reader that does is dropped and its exception kept in ``failures``."""
        with self._lock:
            for reader in list(self.readers):
                try:
                    reader(event)
                except Exception as error:  # noqa: BLE001 - whatever a display does, the run has to go on
                    self.drop(reader, error)

    def drop(self, reader: Reader, error: Exception) -> None:
        """Take out a reader that has failed, be it in a thread of its own; its exception is kept in ``failures``."""
        with self._lock:
            if reader in self.readers:
                self.readers.remove(reader)
                self.failures.append(error)
