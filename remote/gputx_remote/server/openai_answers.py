"""A transcript in the shapes that OpenAI's clients read.

https://platform.openai.com/docs/api-reference/audio: what is not known is null; ``confidence`` and
``suspect`` are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from gputx_remote import writers
from gputx_remote.server.wishes import name_of
from gputx_remote.transcript import Segment, Transcript

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
STREAMED = ("json", "text")
"""Those that can be had as events: the others are files, whole or not at all."""

_WRITERS = {"text": "txt", "srt": "srt", "vtt": "vtt"}
MEDIA_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}


class Usage(BaseModel):
    """What it took: seconds of audio."""

    type: Literal["duration"] = "duration"
    seconds: int


class Plain(BaseModel):
    """``response_format=json``."""

    text: str
    usage: Usage


class VerboseWord(BaseModel):
    """A word and its time."""

    word: str
    start: float
    end: float


class VerboseSegment(BaseModel):
    """A segment with Whisper's own measures of the window it came from."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float | None
    avg_logprob: float | None
    compression_ratio: float | None
    no_speech_prob: float | None
    confidence: float | None
    suspect: bool


class Verbose(BaseModel):
    """``response_format=verbose_json``."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    segments: list[VerboseSegment] | None
    words: list[VerboseWord] | None
    usage: Usage


def plain(transcript: Transcript) -> Plain:
    """The text, and for how much audio."""
    return Plain(text=transcript.text, usage=_usage(transcript))


def verbose(transcript: Transcript, granularities: Sequence[str]) -> Verbose:
    """All that is known.

    Args:
        transcript: what was said.
        granularities: "segment" and "word": which of the two lists are wanted.
    """
    segments = [_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    words = [
        VerboseWord(word=word.text, start=word.start_ms / 1000, end=word.end_ms / 1000)
        for segment in transcript.segments
        for word in segment.words
    ]
    return Verbose(
        task="translate" if transcript.translated else "transcribe",
        language=name_of(transcript.language),
        duration=transcript.duration_ms / 1000,
        text=transcript.text,
        segments=segments if "segment" in granularities else None,
        words=words if "word" in granularities else None,
        usage=_usage(transcript),
    )


def written(transcript: Transcript, response_format: str) -> str:
    """The text of ``text``, ``srt`` or ``vtt``."""
    if response_format == "text":
        # One line, as OpenAI's: the client reads it as the transcript itself.
        return transcript.text + "\n"
    return writers.render(transcript, _WRITERS[response_format])


def delta(text: str, *, first: bool) -> dict[str, Any]:
    """One more segment, as an event. All deltas joined are the text."""
    return {"type": "transcript.text.delta", "delta": text if first else f" {text}"}


def done(transcript: Transcript) -> dict[str, Any]:
    """The last event."""
    answer = plain(transcript)
    return {"type": "transcript.text.done", "text": answer.text, "usage": answer.usage.model_dump()}


def _usage(transcript: Transcript) -> Usage:
    return Usage(seconds=math.ceil(transcript.duration_ms / 1000))


def _segment(number: int, segment: Segment) -> VerboseSegment:
    measure = segment.measure
    return VerboseSegment(
        id=number,
        # Hundredths of a second, as Whisper's frames are.
        seek=segment.start_ms // 10,
        start=segment.start_ms / 1000,
        end=segment.end_ms / 1000,
        text=segment.text,
        tokens=list(segment.tokens),
        temperature=measure.temperature if measure else None,
        avg_logprob=measure.avg_logprob if measure else None,
        compression_ratio=measure.compression_ratio if measure else None,
        no_speech_prob=measure.no_speech_prob if measure else None,
        confidence=segment.confidence,
        suspect=segment.suspect,
    )
