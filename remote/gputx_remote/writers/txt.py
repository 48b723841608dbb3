"""Plain text."""

from __future__ import annotations

from gputx_remote.transcript import Transcript
from gputx_remote.writers.options import WriterOptions


def render(transcript: Transcript, _options: WriterOptions, _title: str) -> str:
    """One segment a line."""
    return "".join(f"{segment.text}\n" for segment in transcript.segments)
