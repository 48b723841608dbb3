"""What the server takes on at once, and how long it remembers. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

HOUR = 3600.0
RESERVE_BYTES = 64 << 20
"""Of the disk, left free by uploads and decoded audio for jobs and logs."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the room behind the HTTP surface. Seconds of audio, unless it says otherwise."""

    audio_seconds: float = 4 * HOUR
    """One recording, once it is decoded: a FLAC of 1 MB may hold a week of silence."""
    queue_seconds: float = 12 * HOUR
    """All recordings that are not done yet, less what is done of them."""
    owner_seconds: float = 12 * HOUR
    """The same for the recordings of one token."""
    running: int = 16
    """Jobs at once: each has a thread, and up to a minute of audio per window it hands over."""
    keep_seconds: float = HOUR
    """Wall time for which an ended job can be asked for. Its audio is gone as soon as it ends."""
    kept: int = 1000
    """Ended jobs that are remembered; beyond that the oldest are forgotten early."""
    decoding: int = 2
    """Uploads decoded at once, each in a process of its own."""
    live: int = 4
    """Live sessions at once."""

    def __post_init__(self) -> None:
        """Raises ValueError for a bound nothing could get past."""
        if self.audio_seconds <= 0 or self.queue_seconds <= 0 or self.owner_seconds <= 0:
            raise ValueError("the limits of audio are more than 0 seconds")
        if self.running < 1 or self.decoding < 1 or self.live < 0 or self.kept < 1 or self.keep_seconds < 0:
            raise ValueError("running, decoding and kept are 1 or more, live and keep_seconds 0 or more")
