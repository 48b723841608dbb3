"""The port of a server that is used: how it is, and a recording in, events of worker protocol 1 out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.workflows.endpoints.breaker import Breaker
from gputx.workflows.worker import Asked

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Health:
    """What a server says of itself."""

    model: str
    device: str
    queue_seconds: float = 0.0
    """Audio that waits there or is being transcribed."""
    rate: float = 1.0
    """Seconds of audio per second."""
    draining: bool = False


@dataclass(frozen=True)
class Recording:
    """What is to be transcribed. ``seconds`` of audio, as far as is known."""

    id: str
    path: Path
    seconds: float
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16), compare=False)
    """The same however often it is sent: a server that has taken it on knows it again by this."""


class Speaker(Protocol):
    """Speaks with one server. Safe from several threads."""

    @property
    def at_once(self) -> int:
        """So many recordings are worth sending it at the same time."""

    def health(self) -> Health:
        """How it is. Raises UnreachedError, BusyError, ConfigurationError."""

    def transcribe(self, recording: Recording, asked: Asked, tell: Tell, stop: Stop) -> None:
        """From ``started`` to ``finished``, told as events of worker protocol 1.

        Raises:
            UnreachedError, BusyError: nothing was lost: another server may be asked.
            LostError: it was at work on it, and its answer is lost.
            RefusedError: it can't be done there.
            ConfigurationError: the token is wrong, or the model.
            InterruptedBySignal: a stop was requested.
        """

    def close(self) -> None:
        """Give up what is under way."""


@dataclass
class Endpoint:
    """One server among others: whether it may be asked, and what is known of its queue."""

    name: str
    """Its address, for people."""
    speaker: Speaker
    now: Callable[[], float] = time.monotonic
    sent_seconds: float = 0.0
    """Audio that was sent there from here, and is not done."""
    sent: int = 0
    known: Health | None = None
    asked_at: float = float("-inf")
    busy_until: float = 0.0
    """It has said so, or has been so again and again."""
    busy_times: int = 0
    """In a row."""
    gone: Callable[[], GputxError | None] = lambda: None
    """Why it will not be back, where that is known."""
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.now)

    def wait(self, seconds: float) -> float:
        """Seconds until a recording of so many would be done there, by what is known."""
        known = self.known or Health("", "")
        # What was sent from here since it was asked is not in its own count yet.
        return (max(known.queue_seconds, self.sent_seconds) + seconds) / max(known.rate, 1e-3)
