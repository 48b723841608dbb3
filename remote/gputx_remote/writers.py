"""Output formats. Each writer is a pure function: transcript in, the text of one file out.

The formats and their details are those of OpenAI's whisper command line (``whisper/utils.py``), so that what
reads its files reads ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from gputx_remote.transcript import Segment, Transcript

Writer = Callable[[Transcript], str]


def txt(transcript: Transcript) -> str:
    """One segment a line."""
    return "".join(f"{text}\n" for _, text in _spoken(transcript))


def srt(transcript: Transcript) -> str:
    """SubRip: numbered cues, hours always, a comma before the milliseconds."""
    cues = []
    for number, (segment, text) in enumerate(_spoken(transcript), start=1):
        start, end = _cue(segment)
        times = f"{_clock(start, ',', hours=True)} --> {_clock(end, ',', hours=True)}"
        # A reader takes the arrow for a line of times.
        cues.append(f"{number}\n{times}\n{text.replace('-->', '->')}\n\n")
    return "".join(cues)


def vtt(transcript: Transcript) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/): hours only where needed, text escaped."""
    cues = ["WEBVTT\n\n"]
    for segment, text in _spoken(transcript):
        start, end = _cue(segment)
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{_clock(start, '.', hours=False)} --> {_clock(end, '.', hours=False)}\n{escaped}\n\n")
    return "".join(cues)


def tsv(transcript: Transcript) -> str:
    """Tab-separated start, end (integer milliseconds) and text, with a header."""
    rows = [f"{segment.start_ms}\t{segment.end_ms}\t{text}\n" for segment, text in _spoken(transcript)]
    return "start\tend\ttext\n" + "".join(rows)


def json_(transcript: Transcript) -> str:
    """Whisper's own document: ``text``, ``segments`` with times in seconds, ``language``."""
    segments = [
        {"id": number, "start": segment.start_ms / 1000, "end": segment.end_ms / 1000, "text": segment.text}
        for number, segment in enumerate(transcript.segments)
    ]
    document = {"text": transcript.text, "segments": segments, "language": transcript.language}
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


_WRITERS: dict[str, Writer] = {"txt": txt, "srt": srt, "vtt": vtt, "tsv": tsv, "json": json_}

FORMATS: tuple[str, ...] = tuple(_WRITERS)
"""The names :func:`render` takes; each is also the file's suffix."""


def render(transcript: Transcript, format: str) -> str:  # noqa: A002 - the word whisper's users know
    """A transcript as the text of one file, UTF-8, ending in a newline unless it is empty.

    Raises:
        ValueError: ``format`` is not one of :data:`FORMATS`.
    """
    writer = _WRITERS.get(format)
    if writer is None:
        raise ValueError(f"no output format {format!r}; there are {', '.join(FORMATS)}")
    return writer(transcript)


def _spoken(transcript: Transcript) -> Iterator[tuple[Segment, str]]:
    """Segments with a text, on one line: a line break or a tab inside would end a cue, a row or a field."""
    for segment in transcript.segments:
        if text := " ".join(segment.text.split()):
            yield segment, text


def _cue(segment: Segment) -> tuple[int, int]:
    """Start and end in ms. Players drop a cue that lasts no time, so it gets a millisecond."""
    return segment.start_ms, max(segment.end_ms, segment.start_ms + 1)


def _clock(ms: int, decimal: str, *, hours: bool) -> str:
    minutes, ms = divmod(ms, 60_000)
    whole_hours, minutes = divmod(minutes, 60)
    prefix = f"{whole_hours:02d}:" if hours or whole_hours else ""
    return f"{prefix}{minutes:02d}:{ms // 1000:02d}{decimal}{ms % 1000:03d}"
