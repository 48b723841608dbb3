"""WebVTT subtitles (https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

from collections.abc import Iterable

from gputx_remote.transcript import Transcript
from gputx_remote.writers.cues import Run, clock, cues_of
from gputx_remote.writers.options import WriterOptions


def render(transcript: Transcript, options: WriterOptions, _title: str) -> str:
    """Cues with hours only where needed and their text escaped; a word that is highlighted stands in <u>."""
    return "WEBVTT\n\n" + "".join(
        f"{clock(cue.start_ms, '.', hours=False)} --> {clock(cue.end_ms, '.', hours=False)}\n"
        + "".join(f"{_line(line)}\n" for line in cue.lines)
        + "\n"
        for cue in cues_of(transcript, options)
    )


def _line(line: Iterable[Run]) -> str:
    return "".join(f"<u>{_escaped(run.text)}</u>" if run.underlined else _escaped(run.text) for run in line)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
