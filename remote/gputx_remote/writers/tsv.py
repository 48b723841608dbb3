"""Tab-separated values."""

from __future__ import annotations

from gputx_remote.transcript import Transcript
from gputx_remote.writers.options import WriterOptions


def render(transcript: Transcript, _options: WriterOptions, _title: str) -> str:
    """Start, end (integer milliseconds) and text of each segment, with a header. As in whisper nothing is quoted."""
    rows = [f"{segment.start_ms}\t{segment.end_ms}\t{segment.text}\n" for segment in transcript.segments]
    return "start\tend\ttext\n" + "".join(rows)
