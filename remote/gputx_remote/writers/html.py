"""One page that stands alone: the text with its times, and what the model was not sure of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from gputx_remote.languages import NAMES
from gputx_remote.transcript import Segment, Transcript
from gputx_remote.writers.options import WriterOptions
from gputx_remote.writers.page import PAGE
from gputx_remote.writers.pieces import spaced_words
from gputx_remote.writers.tags import language_tag
from gputx_remote.writers.tidy import one_line

UNSURE, DOUBTFUL = 0.8, 0.5
"""Below these probabilities a word is underlined with dots, with a wave. Ours: on clear speech few words are."""

_HOUR_MS = 3_600_000


def render(transcript: Transcript, _options: WriterOptions, title: str) -> str:
    """A page for reading and checking, in light and dark, with no script and nothing fetched from elsewhere.

    Words that the model was unsure of are coloured, underlined in a form of their own, and say how sure it was. Where
    a segment has no words, its confidence marks the whole of it.
    """
    heading = one_line(title) or "Transcript"
    hours = transcript.duration_ms >= _HOUR_MS
    rows = "".join(_row(number, segment, hours=hours) for number, segment in enumerate(transcript.segments, start=1))
    measured = any(segment.words or segment.confidence is not None for segment in transcript.segments)
    suspects = sum(segment.suspect for segment in transcript.segments)
    return PAGE.substitute(
        title=escape(heading),
        facts=" · ".join(_facts(transcript, suspects)),
        legend=_legend(measured=measured, suspects=suspects),
        language=language_tag(transcript.text_language),
        body=f'<ol class="{"long" if hours else "short"}">\n{rows}</ol>'
        if rows
        else '<p lang="en">Nobody speaks in it.</p>',
    )


def _facts(transcript: Transcript, suspects: int) -> Iterator[str]:
    yield escape(NAMES.get(transcript.text_language, transcript.text_language).capitalize())
    yield f"{_clock(transcript.duration_ms, hours=transcript.duration_ms >= _HOUR_MS)} long"
    count = len(transcript.segments)
    yield f"{count} segment{'' if count == 1 else 's'}"
    if suspects:
        yield f"<strong>{suspects} to check</strong>"


def _legend(*, measured: bool, suspects: int) -> str:
    said = []
    if measured:
        said.append(
            f'The model was <span class="unsure">unsure</span> (below {UNSURE:.0%}) or '
            f'<span class="doubtful">doubtful</span> (below {DOUBTFUL:.0%}) of what is underlined; '
            "point at it to see how sure."
        )
    if suspects:
        said.append('What is marked <strong class="check">check</strong> failed the quality checks: listen to it.')
    return f'<p class="legend">{" ".join(said)}</p>' if said else ""


def _row(number: int, segment: Segment, *, hours: bool) -> str:
    check = '<strong class="check" lang="en">check</strong> ' if segment.suspect else ""
    known = segment.confidence is not None and math.isfinite(segment.confidence)
    title = f' title="confidence {segment.confidence:.0%}"' if known else ""
    return (
        f'<li id="s{number}"{" class=suspect" if segment.suspect else ""}><a href="#s{number}"{title}>'
        f'<time datetime="PT{segment.start_ms // 1000}.{segment.start_ms % 1000:03d}S">'
        f"{_clock(segment.start_ms, hours=hours)}</time></a>"
        f"<p>{check}{_text(segment)}</p></li>\n"
    )


def _text(segment: Segment) -> str:
    spaced = spaced_words(segment)
    if not spaced:
        return _marked(segment.text, segment.confidence)
    return "".join(space + _marked(word.text, word.probability) for space, word in spaced)


def _marked(text: str, probability: float | None) -> str:
    if probability is None or not math.isfinite(probability) or probability >= UNSURE:
        return escape(text, quote=False)
    # Rounded down: a word that is marked for being below 80 % does not say 80%.
    sure = math.floor(max(probability, 0) * 100)
    word = "doubtful" if probability < DOUBTFUL else "unsure"
    return f'<span class="{word}" title="{word}: {sure}% sure">{escape(text, quote=False)}</span>'


def _clock(ms: int, *, hours: bool) -> str:
    minutes, seconds = divmod(ms // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
