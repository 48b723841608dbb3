"""What a server is told when it is started, and the limits it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RequestLimits:
    """What one request, and what one token, may take of the HTTP surface; the room behind it is bounded by
    :class:`gputx_remote.server.limits.Limits`. Sizes in bytes, times in seconds."""

    upload_bytes: int = 1 << 30
    """A request's body. Twelve hours of 16 kHz speech as FLAC are about 0.7 GB."""
    field_bytes: int = 16 << 10
    """One text field of a form."""
    fields: int = 40
    """Parts of a form."""
    stall_seconds: float = 20.0
    """Without a byte for so long, an upload is over."""
    grace_seconds: float = 20.0
    """After which an upload has to have come at :attr:`bytes_per_second` on the whole."""
    bytes_per_second: float = 2_000.0
    """Slower than a telephone's codec: nobody sends audio like that on purpose."""
    header_seconds: float = 10.0
    """For a request's line and headers, from its first byte, or from the connection's beginning."""
    keep_alive_seconds: float = 30.0
    connections: int = 512
    """At once; the next is answered with 503."""
    requests_per_token: int = 64
    """Uploads, transcriptions and streams of events under way at once with one token."""
    live_per_token: int = 2
    """Live sessions at once with one token."""
    live_wait_seconds: float = 30.0
    """Without a message for so long, a live session is over."""
    event_wait_seconds: float = 15.0
    """After which a stream of events sends a comment, so that nobody between takes it for dead."""


@dataclass(frozen=True)
class ServerSettings:
    """What the routes need to know."""

    model: str
    """What answers call the model."""
    limits: RequestLimits = RequestLimits()
    language: str | None = "sv"
    """For /transcribe and /live where a request names none; None to detect it."""
    drain_seconds: float = 60.0
    """From the first SIGTERM until the process ends, whatever is left to do."""
    idle_file: Path | None = None
    """Touched while the server is used: how long ago is how long nobody wanted anything."""
