"""A transcript as subtitles: what srt, vtt and ttml have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from gputx_remote.transcript import Transcript
from gputx_remote.writers.lines import broken
from gputx_remote.writers.options import WriterOptions
from gputx_remote.writers.pieces import Piece, pieces_of

PAUSE_MS = 3_000
"""Where cues are cut inside segments, a longer silence between two words ends one, as in ``whisper/utils.py``."""


@dataclass(frozen=True)
class Run:
    """Text on one line, all of it underlined or none."""

    text: str
    underlined: bool = False


@dataclass(frozen=True)
class Cue:
    """Lines of text that are shown together, from ``start_ms`` until ``end_ms``."""

    start_ms: int
    end_ms: int
    lines: tuple[tuple[Run, ...], ...]


def cues_of(transcript: Transcript, options: WriterOptions) -> list[Cue]:
    """Cut a tidied transcript into cues, in order.

    A cue never holds text of two segments. With word times it lasts from its first word's start to its last word's
    end; without, a whole segment has its own times, and parts of one share them by number of characters.

    Returns:
        Cues that do not overlap, each a millisecond long at least.
    """
    return _apart(_cues(transcript, options), transcript.duration_ms)


def clock(ms: int, decimal: str, *, hours: bool = True) -> str:
    """A time as HH:MM:SS and three decimals; without ``hours`` they stand only where there are any."""
    minutes, ms = divmod(ms, 60_000)
    whole_hours, minutes = divmod(minutes, 60)
    prefix = f"{whole_hours:02d}:" if hours or whole_hours else ""
    return f"{prefix}{minutes:02d}:{ms // 1000:02d}{decimal}{ms % 1000:03d}"


def _cues(transcript: Transcript, options: WriterOptions) -> Iterator[Cue]:
    for segment in transcript.segments:
        pieces, heard = pieces_of(segment, transcript.text_language)
        for stretch in _stretches(pieces) if heard and options.lines_per_cue else [pieces]:
            for lines in broken(stretch, options):
                yield from _spelled(lines, highlight=heard and options.highlight_words)


def _stretches(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Cut where nobody speaks for long: a cue would stand there with nothing said."""
    stretches = [[pieces[0]]]
    for before, piece in pairwise(pieces):
        if piece.start_ms - before.end_ms > PAUSE_MS:
            stretches.append([])
        stretches[-1].append(piece)
    return stretches


def _spelled(lines: Sequence[Sequence[Piece]], *, highlight: bool) -> Iterator[Cue]:
    """One cue; with ``highlight`` one for each word while it is spoken, and the plain text between words."""
    pieces = [piece for line in lines for piece in line]
    start, end = pieces[0].start_ms, pieces[-1].end_ms
    plain = Cue(start, end, _runs(lines, None))
    if not highlight or start == end:
        yield plain
        return
    now = start
    for piece in pieces:
        if piece.start_ms > now:
            yield replace(plain, start_ms=now, end_ms=piece.start_ms)
        if piece.end_ms > piece.start_ms:
            yield Cue(piece.start_ms, piece.end_ms, _runs(lines, piece))
        now = piece.end_ms


def _runs(lines: Iterable[Sequence[Piece]], underlined: Piece | None) -> tuple[tuple[Run, ...], ...]:
    return tuple(tuple(_line(line, underlined)) for line in lines)


def _line(line: Sequence[Piece], underlined: Piece | None) -> Iterator[Run]:
    text = ""
    for number, piece in enumerate(line):
        text += piece.space if number else ""
        # By identity: the same word may be said twice in no time.
        if piece is underlined:
            if text:
                yield Run(text)
            yield Run(piece.text, underlined=True)
            text = ""
        else:
            text += piece.text
    if text:
        yield Run(text)


def _apart(cues: Iterable[Cue], duration_ms: int) -> list[Cue]:
    """Give each cue a millisecond at least, which players need to show it, without overlaps or passing the end."""
    spaced: list[Cue] = []
    floor = 0
    for cue in cues:
        start = max(cue.start_ms, floor)
        floor = max(cue.end_ms, start + 1)
        spaced.append(replace(cue, start_ms=start, end_ms=floor))
    ceiling = max(duration_ms, len(spaced))
    for index in range(len(spaced) - 1, -1, -1):
        cue = spaced[index]
        if cue.end_ms <= ceiling:
            break
        spaced[index] = replace(cue, start_ms=min(cue.start_ms, ceiling - 1), end_ms=ceiling)
        ceiling = spaced[index].start_ms
    return spaced
