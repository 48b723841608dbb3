"""Whisper's own JSON document, and what is ours beside it."""

from __future__ import annotations

import json
import math
from typing import Any

from gputx_remote.transcript import Segment, Transcript
from gputx_remote.writers.options import WriterOptions
from gputx_remote.writers.pieces import spaced_words


def render(transcript: Transcript, _options: WriterOptions, _title: str) -> str:
    """``text``, ``segments`` with times in seconds, ``language``, as whisper writes them, and ``duration``.

    ``seek`` is left out: it counts frames of whisper's own loop. A segment's measures are null where the engine gave
    none; ``words`` are there where word times were asked for. Ours are ``confidence`` and ``suspect``.
    """
    timed = any(segment.words for segment in transcript.segments)
    # A segment a line: so a person can read it, and a tool that compares lines can show what changed.
    rows = [
        f"\n    {_dumped(_segment(number, segment, timed=timed))}" for number, segment in enumerate(transcript.segments)
    ]
    segments = f"[{','.join(rows)}\n  ]" if rows else "[]"
    return (
        f'{{\n  "text": {_dumped(transcript.text)},\n  "segments": {segments},\n'
        f'  "language": {_dumped(transcript.language)},\n  "duration": {_dumped(transcript.duration_ms / 1000)}\n}}\n'
    )


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _segment(number: int, segment: Segment, *, timed: bool) -> dict[str, Any]:
    measure = segment.measure
    fields: dict[str, Any] = {
        "id": number,
        "start": segment.start_ms / 1000,
        "end": segment.end_ms / 1000,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": _finite(measure.temperature if measure else None),
        "avg_logprob": _finite(measure.avg_logprob if measure else None),
        "compression_ratio": _finite(measure.compression_ratio if measure else None),
        "no_speech_prob": _finite(measure.no_speech_prob if measure else None),
        "confidence": _finite(segment.confidence),
        "suspect": segment.suspect,
    }
    if timed:
        fields["words"] = _words(segment)
    return fields


def _words(segment: Segment) -> list[dict[str, Any]]:
    """With the space before them, as whisper's have: joined they are the text, with one space before it."""
    spaced = spaced_words(segment) or [(" ", word) for word in segment.words]
    return [
        {
            "word": (space if number else " ") + word.text,
            "start": word.start_ms / 1000,
            "end": word.end_ms / 1000,
            "probability": _finite(word.probability),
        }
        for number, (space, word) in enumerate(spaced)
    ]


def _finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return round(value, 6) if value is not None and math.isfinite(value) else None
