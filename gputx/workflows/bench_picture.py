"""A bench as a picture: a bar of speed for each contestant, its word error rate beside it. SVG, nothing else needed.

The default's bar is strong, the others' are quiet, and it follows the reader's light or dark scheme.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from gputx.units import duration
from gputx.workflows.bench_report import BenchReport, Standing

_WIDTH = 760
_MARGIN = 24
_ROW = 30
_BAR = 18
_TOP = 104
"""Where the rows begin: title, machine and the columns' heads stand above."""
_BAR_LEFT = 236
_BAR_ROOM = 300
"""Of the longest bar: right of it there is room for its figure."""
_LABEL_LETTERS, _LINE_LETTERS, _REASON_LETTERS = 30, 100, 66

_STYLE = """\
    svg { --ground: #ffffff; --ink: #1c2530; --quiet: #5a6776; --bar: #a9bfd8; --own: #1f6fb5; --line: #d5dce4; }
    @media (prefers-color-scheme: dark) {
      svg { --ground: #14191f; --ink: #e8edf2; --quiet: #9daab8; --bar: #48627d; --own: #5aa9ec; --line: #323c47; }
    }
    text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink); }
    .title { font-size: 17px; font-weight: 600; }
    .quiet { fill: var(--quiet); }
    .own { font-weight: 600; }
    .figure { font-variant-numeric: tabular-nums; }
    .end { text-anchor: end; }
"""


def picture(report: BenchReport) -> str:
    """The whole SVG document. Pure: the same report gives the same text."""
    fastest = max((standing.speed or 0.0 for standing in report.standings), default=0.0)
    rows = [_row(standing, number, fastest) for number, standing in enumerate(report.standings)]
    bottom = _TOP + _ROW * len(rows)
    height = bottom + 44
    title = f"{Path(report.input).name} · {duration(report.duration_seconds)} · {report.run.model or 'no model'}"
    where = str(report.machine) if report.machine else report.run.place
    if report.run.instance:
        where = f"{report.run.instance.instance_type}: {where}"
    heads = [_text(_BAR_LEFT, _TOP - 14, "times real time (longer is faster)", "quiet")]
    if report.reference_words:
        heads.append(_text(_WIDTH - _MARGIN, _TOP - 14, "word error rate", "quiet end"))
    medians = f"medians of {report.rounds} rounds" if report.rounds > 1 else "one round"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img" aria-labelledby="title">',
            f'  <title id="title">{escape(_plain(_short("Speed of each decoder: " + title, 200)))}</title>',
            f"  <style>\n{_STYLE}  </style>",
            f'  <rect width="{_WIDTH}" height="{height}" fill="var(--ground)"/>',
            _text(_MARGIN, 36, _short(title, 80), "title"),
            _text(_MARGIN, 58, _short(where, _LINE_LETTERS), "quiet"),
            *heads,
            f'  <path d="M{_BAR_LEFT} {_TOP - 4}V{bottom}" stroke="var(--line)"/>',
            *rows,
            _text(_MARGIN, bottom + 28, f"gputx bench · {medians}", "quiet"),
            "</svg>",
            "",
        ]
    )


def _row(standing: Standing, number: int, fastest: float) -> str:
    top = _TOP + _ROW * number
    middle = top + _BAR - 4
    own = " own" if standing.default else ""
    parts = [_text(_BAR_LEFT - 10, middle, _short(standing.name, _LABEL_LETTERS), f"end{own}")]
    if standing.speed is None:
        why = _short(standing.error or "not measured", _REASON_LETTERS)
        return "\n".join([*parts, _text(_BAR_LEFT + 8, middle, why, "quiet")])
    length = max(1.0, _BAR_ROOM * standing.speed / fastest)
    colour = "own" if standing.default else "bar"
    parts.append(
        f'  <rect x="{_BAR_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="2" fill="var(--{colour})"/>'
    )
    figure = f"{pace(standing.speed)}×" + (" · default" if standing.default else "")
    parts.append(_text(_BAR_LEFT + length + 8, middle, figure, f"figure{own}"))
    if standing.word_error_rate is not None:
        errors = f"{100 * standing.word_error_rate:.1f} %"
        parts.append(_text(_WIDTH - _MARGIN, middle, errors, f"figure end{own}"))
    return "\n".join(parts)


def pace(speed: float) -> str:
    """Times real time, in three figures: ``0.84``, ``7.3``, ``171``."""
    return f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}" if speed >= 1 else f"{speed:.2f}"


def _text(x: float, y: float, words: str, classes: str) -> str:
    return f'  <text x="{x:.1f}" y="{y}" class="{classes}">{escape(_plain(words))}</text>'


def _short(words: str, letters: int) -> str:
    return words if len(words) <= letters else words[: letters - 1] + "…"


def _plain(words: str) -> str:
    """A file's name may hold what XML can't."""
    return "".join(letter if letter.isprintable() else "�" for letter in words)
