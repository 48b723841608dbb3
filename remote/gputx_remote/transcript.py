"""Segments and transcripts: what every engine makes and every writer reads.

Times are integer milliseconds inside, so that nothing rounds twice; seconds appear only at the edges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """A timed piece of text. ``start_ms`` ≤ ``end_ms``, both from the start of the file."""

    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True)
class Transcript:
    """All segments of one file, in order."""

    segments: tuple[Segment, ...]
    language: str
    duration_ms: int

    @property
    def text(self) -> str:
        """The whole text as one line: segments joined by single spaces."""
        return " ".join(text for segment in self.segments if (text := segment.text.strip()))


def orderly(pieces: Iterable[tuple[float | None, float | None, str]], duration_ms: int) -> tuple[Segment, ...]:
    """Make timed pieces from a model safe for everyone downstream.

    Args:
        pieces: (start seconds or None, end seconds or None, text), as a model gave them.
        duration_ms: the length of the audio.

    Returns:
        Segments whose times are never null, never go backwards and never pass the end. A missing start is the
        end of the segment before; a missing end is the next known start, or the end of the audio. Empty texts
        are dropped.
    """
    kept = [(start, end, text.strip()) for start, end, text in pieces if text.strip()]
    segments: list[Segment] = []
    floor = 0
    for index, (start, end, text) in enumerate(kept):
        start_ms = floor if start is None else round(start * 1000)
        start_ms = min(max(start_ms, floor), duration_ms)
        if end is None:
            following = (round(s * 1000) for s, _, _ in kept[index + 1 :] if s is not None)
            end_ms = next((ms for ms in following if ms >= start_ms), duration_ms)
        else:
            end_ms = round(end * 1000)
        end_ms = min(max(end_ms, start_ms), duration_ms)
        segments.append(Segment(start_ms, end_ms, text))
        floor = end_ms
    return tuple(segments)
