"""Segments and transcripts: what every engine makes and every writer reads.

Times are integer milliseconds inside, so that nothing rounds twice; seconds appear only at the edges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word as it is written, punctuation with it, and without spaces round it. ``start_ms`` ≤ ``end_ms``."""

    start_ms: int
    end_ms: int
    text: str
    probability: float
    """The mean probability of its tokens, 0 to 1."""


@dataclass(frozen=True)
class Measure:
    """How sure the model was. Whisper's own measures, by their names in ``whisper/decoding.py``."""

    avg_logprob: float
    """Mean log probability of the tokens, the end of text included."""
    compression_ratio: float
    """Bytes of UTF-8 over bytes that zlib makes of them: loops compress well."""
    no_speech_prob: float
    """Probability of <|nospeech|> where the text begins; 0 where the model has no such token."""
    temperature: float
    """The temperature it was decoded at: 0 is greedy."""


@dataclass(frozen=True)
class Segment:
    """A timed piece of text. ``start_ms`` ≤ ``end_ms``, both from the start of the file."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()
    """In order, between its own times; empty unless word times were asked for."""
    tokens: tuple[int, ...] = ()
    """The text's tokens, without special ones."""
    confidence: float | None = None
    """exp of the mean log probability of its own tokens, 0 to 1."""
    suspect: bool = False
    """A person should listen to it: it failed the quality checks at every temperature."""
    measure: Measure | None = None
    """Of the window it came from."""


@dataclass(frozen=True)
class Transcript:
    """All segments of one file, in order."""

    segments: tuple[Segment, ...]
    language: str
    """The one that is spoken."""
    duration_ms: int
    translated: bool = False
    """Whether the text is a translation: Whisper translates into English."""

    @property
    def text_language(self) -> str:
        """The one that the text is written in."""
        return "en" if self.translated else self.language

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
