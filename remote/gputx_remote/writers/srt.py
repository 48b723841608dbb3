"""SubRip subtitles."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gputx_remote.transcript import Transcript
from gputx_remote.writers.cues import Run, clock, cues_of
from gputx_remote.writers.options import WriterOptions

# A reader takes the arrow for a line of times; SubRip has no way to escape it.
_ARROW = re.compile("-{2,}>")


def render(transcript: Transcript, options: WriterOptions, _title: str) -> str:
    """Numbered cues, hours always, a comma before the milliseconds; a word that is highlighted stands in <u>."""
    return "".join(
        f"{number}\n{clock(cue.start_ms, ',')} --> {clock(cue.end_ms, ',')}\n"
        + "".join(f"{_line(line)}\n" for line in cue.lines)
        + "\n"
        for number, cue in enumerate(cues_of(transcript, options), start=1)
    )


def _line(line: Iterable[Run]) -> str:
    texts = ((_ARROW.sub("->", run.text), run.underlined) for run in line)
    return "".join(f"<u>{text}</u>" if underlined else text for text, underlined in texts)
