"""What every format relies on: times in order, and text of characters that every format can hold."""

from __future__ import annotations

import re
from dataclasses import replace

from gputx_remote.transcript import Segment, Transcript, Word

_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(f"{chr(p + 0xFFFE)}{chr(p + 0xFFFF)}" for p in range(0, 0x110000, 0x10000))
# What XML 1.0 (https://www.w3.org/TR/xml/#charsets) or HTML's parser refuses, what UTF-8 can't hold (surrogates), and
# the byte order mark, which readers of subtitles take off. Control characters that are white space become spaces.
_FORBIDDEN = re.compile(f"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff{_NONCHARACTERS}]")


def one_line(text: str) -> str:
    """The text with single spaces for white space of every kind, without characters that some format refuses.

    A line break or a tab inside would end a cue, a row or a field.
    """
    return " ".join(_FORBIDDEN.sub("", text).split())


def tidied(transcript: Transcript) -> Transcript:
    """The transcript as every writer wants it.

    Returns:
        Segments and words with a text, on one line each; their times between 0 and the end of the audio and never
        before those of the one ahead, words within their segment. A transcript that is in order stays as it is.
    """
    duration, floor = max(transcript.duration_ms, 0), 0
    segments = []
    for segment in transcript.segments:
        text = one_line(segment.text)
        if not text:
            continue
        start, end = _between(segment, floor, duration)
        segments.append(replace(segment, start_ms=start, end_ms=end, text=text, words=_words(segment, start, end)))
        floor = end
    return replace(transcript, segments=tuple(segments), duration_ms=duration)


def _words(segment: Segment, start: int, end: int) -> tuple[Word, ...]:
    words, floor = [], start
    for word in segment.words:
        if text := one_line(word.text):
            begins, ends = _between(word, floor, end)
            words.append(replace(word, start_ms=begins, end_ms=ends, text=text))
            floor = ends
    return tuple(words)


def _between(timed: Segment | Word, floor: int, ceiling: int) -> tuple[int, int]:
    start = min(max(timed.start_ms, floor), ceiling)
    return start, min(max(timed.end_ms, start), ceiling)
