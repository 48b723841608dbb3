"""A job: one recording to transcribe, and what has become of it so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.transcript import Segment, Transcript


class State(StrEnum):
    """Where a job is. The last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Failure:
    """Why a job failed, for a program and for a person."""

    code: str
    """``engine``: the model could not decode it; ``audio``: it can't be read on; ``restarting``: the server ended
    before it was done, so that the client should ask again; ``internal``: a fault of the server."""
    message: str
    """One line, without a path."""


@dataclass(frozen=True)
class Order:
    """What a job was submitted as; it never changes."""

    id: str
    """Made by the server: 128 random bits, in characters that are safe in a path and a URL."""
    owner: str
    """Who may see it: a digest of the token, or "" where the server asks for none."""
    options: TranscribeOptions
    seconds: float
    """Of decoded audio."""
    created: float
    """Seconds since 1970."""
    number: int = 0
    """The how-manieth this is: the order of age, whatever has been done to the clock."""
    name: str = ""
    """What the client called its file, for people to read; never used as a path."""
    attached: bool = False
    """Whether a connection waits for the answer: such a job ends with its client and is not taken up by the next
    process, which could not answer."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Whatever else the HTTP surface wants back with the job, as JSON."""


@dataclass(frozen=True)
class Outcome:
    """What is known of a job that was done, beyond its segments."""

    windows: int = 0
    decoded_again: int = 0
    suspect: int = 0
    silence_ms: int = 0
    processing_seconds: float = 0.0
    """Wall time from its first window to its end, other jobs' share of the model included; over all processes."""


class Job:
    """Everything about one job. Threads of the server write it; whoever got it from :class:`Jobs` only reads."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.state = State.QUEUED
        self.segments: list[Segment] = []
        """Those finished so far, in order; only ever appended to."""
        self.noted = 0
        """How many of them are on disk, too."""
        self.done_seconds = 0.0
        """Of its audio."""
        self.language = order.options.language or ""
        """As given or detected; "" until it is known."""
        self.duration_ms = round(order.seconds * 1000)
        self.started: float | None = None
        """When its first window was begun, seconds since 1970."""
        self.ended: float | None = None
        self.place = 0
        """The later it ended, the greater."""
        self.deaths = 0
        """How many processes in a row have ended amid the same window of it, without having put it down."""
        self.since = time.monotonic()
        """When it began to wait."""
        self.stored = ""
        """The folder in S3 with its text; "" where there is none."""
        self.failure: Failure | None = None
        self.outcome = Outcome()
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []

    @property
    def id(self) -> str:
        return self.order.id

    @property
    def progress(self) -> float:
        """0 to 1."""
        if self.state is State.DONE:
            return 1.0
        return min(1.0, self.done_seconds / self.order.seconds) if self.order.seconds > 0 else 0.0

    @property
    def left_seconds(self) -> float:
        """Of its audio, still to be transcribed."""
        return 0.0 if self.state.ended else max(0.0, self.order.seconds - self.done_seconds)

    def transcript(self) -> Transcript:
        """What there is so far, for the writers."""
        translated = self.order.options.task == "translate"
        return Transcript(tuple(self.segments), self.language, self.duration_ms, translated)

    def changed(self) -> None:
        """Tell all who watch, in the thread of whoever changed it."""
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Have ``watcher`` called after each change, from any thread; returns what ends that."""
        with self._lock:
            self._watchers.append(watcher)

        def end() -> None:
            with self._lock:
                self._watchers.remove(watcher)

        return end
