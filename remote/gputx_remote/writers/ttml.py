"""TTML1 subtitles, also known as DFXP (https://www.w3.org/TR/ttml1/)."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from gputx_remote.transcript import Transcript
from gputx_remote.writers.cues import Cue, Run, clock, cues_of
from gputx_remote.writers.options import WriterOptions
from gputx_remote.writers.tags import language_tag
from gputx_remote.writers.tidy import one_line

_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:tts="http://www.w3.org/ns/ttml#styling" \
xmlns:ttm="http://www.w3.org/ns/ttml#metadata" xml:lang="{language}">
  <head>
{metadata}\
    <styling>
      <style xml:id="subtitle" tts:color="white" tts:backgroundColor="rgba(0,0,0,192)" \
tts:fontFamily="proportionalSansSerif" tts:textAlign="center"/>
      <style xml:id="spoken" tts:textDecoration="underline"/>
    </styling>
    <layout>
      <region xml:id="bottom" tts:origin="10% 10%" tts:extent="80% 80%" tts:displayAlign="after"/>
    </layout>
  </head>
"""


def render(transcript: Transcript, options: WriterOptions, title: str) -> str:
    """A paragraph per cue, centred at the bottom of the picture. Times are media time as HH:MM:SS.mmm, no frames."""
    shown = one_line(title)
    metadata = f"    <metadata><ttm:title>{escape(shown)}</ttm:title></metadata>\n" if shown else ""
    head = _HEAD.format(language=language_tag(transcript.text_language), metadata=metadata)
    cues = "".join(_paragraph(number, cue) for number, cue in enumerate(cues_of(transcript, options), start=1))
    return f'{head}  <body region="bottom">\n    <div>\n{cues}    </div>\n  </body>\n</tt>\n'


def _paragraph(number: int, cue: Cue) -> str:
    lines = "<br/>".join(_line(line) for line in cue.lines)
    times = f'begin="{clock(cue.start_ms, ".")}" end="{clock(cue.end_ms, ".")}"'
    return f'      <p xml:id="c{number}" {times}><span style="subtitle">{lines}</span></p>\n'


def _line(line: Iterable[Run]) -> str:
    return "".join(
        f'<span style="spoken">{escape(run.text, quote=False)}</span>'
        if run.underlined
        else escape(run.text, quote=False)
        for run in line
    )
