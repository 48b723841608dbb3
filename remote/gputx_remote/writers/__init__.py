"""Output formats. Each writer is a pure function: transcript and options in, the text of one file out.

One file per format; what they share is here: :mod:`.options`, :mod:`.tidy` (times and characters that every format
can carry), :mod:`.cues` and :mod:`.lines` (a transcript as subtitles). Nothing here may read or write a file. Formats
and options are those of OpenAI's whisper command line (``whisper/utils.py``), so that what reads its files reads ours.
"""

from __future__ import annotations

from collections.abc import Callable

from gputx_remote.transcript import Transcript
from gputx_remote.writers import html, json, srt, tsv, ttml, txt, vtt
from gputx_remote.writers.options import WriterOptions, lacks_words, needs_words
from gputx_remote.writers.tidy import tidied

__all__ = ["FORMATS", "SUBTITLES", "WriterOptions", "lacks_words", "needs_words", "render"]

Writer = Callable[[Transcript, WriterOptions, str], str]

_WRITERS: dict[str, Writer] = {
    "txt": txt.render,
    "srt": srt.render,
    "vtt": vtt.render,
    "ttml": ttml.render,
    "tsv": tsv.render,
    "json": json.render,
    "html": html.render,
}

FORMATS: tuple[str, ...] = tuple(_WRITERS)
"""The names :func:`render` takes; each is also the file's suffix."""

SUBTITLES: tuple[str, ...] = ("srt", "vtt", "ttml")
"""The formats made of cues, which are those that :class:`WriterOptions` shape."""


def render(
    transcript: Transcript,
    format: str,  # noqa: A002 - the word whisper's users know
    options: WriterOptions | None = None,
    *,
    title: str = "",
) -> str:
    """A transcript as the text of one file, UTF-8, ending in a newline unless it is empty.

    Times are never null, never backwards and never past the end of the audio, whatever the transcript holds; cues
    last a millisecond at least and never overlap. (Where there are more cues than milliseconds of audio, as many
    milliseconds as there are cues count as the audio's length: text is never dropped.)

    Args:
        transcript: any transcript; its times are put in order first.
        format: one of :data:`FORMATS`.
        options: how cues are cut; as whisper's are without options by default.
        title: the name of the recording, for the formats that show one (ttml, html).

    Raises:
        ValueError: ``format`` is not one of :data:`FORMATS`.
    """
    writer = _WRITERS.get(format)
    if writer is None:
        raise ValueError(f"no output format {format!r}; there are {', '.join(FORMATS)}")
    return writer(tidied(transcript), options or WriterOptions(), title)
