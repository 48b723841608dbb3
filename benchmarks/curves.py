"""Curves over the length of a recording as one SVG, in the colours of the pictures of `gputx bench`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 760, 356
_TOP, _BOTTOM = 116, 296
_LEFTS, _PANEL = (58, 446), 286
_STYLE = """\
    svg { --ground: #ffffff; --ink: #1c2530; --quiet: #5a6776; --first: #1f6fb5; --second: #c0692a; --line: #d5dce4; }
    @media (prefers-color-scheme: dark) {
      svg { --ground: #14191f; --ink: #e8edf2; --quiet: #9daab8; --first: #5aa9ec; --second: #e79a5f; --line: #323c47; }
    }
    text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--quiet); }
    .title { font-size: 17px; font-weight: 600; fill: var(--ink); }
    .head { font-size: 13px; fill: var(--ink); }
    .end { text-anchor: end; }
    .middle { text-anchor: middle; }
"""
_COLOURS = ("first", "second")


@dataclass(frozen=True)
class Panel:
    """Curves that share a scale: by name, (minutes of audio, value) in order. Two of them at most."""

    head: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    limits: Mapping[str, float] = field(default_factory=dict)
    """Values not to be passed, by what is said of them."""


def picture(title: str, below: str, panels: Sequence[Panel], ticks: Mapping[float, str]) -> str:
    """The whole SVG document.

    Args:
        title: above all.
        below: what was measured and where.
        panels: one or two, side by side.
        ticks: what is written at which minutes.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-labelledby="title">',
        f'  <title id="title">{escape(title)}</title>',
        f"  <style>\n{_STYLE}  </style>",
        f'  <rect width="{_WIDTH}" height="{_HEIGHT}" fill="var(--ground)"/>',
        _text(24, 34, title, "title"),
    ]
    for left, panel in zip(_LEFTS, panels, strict=False):
        parts += _panel(left, panel, ticks)
    return "\n".join([*parts, _text(24, _HEIGHT - 16, below), "</svg>", ""])


def _panel(left: int, panel: Panel, ticks: Mapping[float, str]) -> list[str]:
    first, last = math.log(min(ticks)), math.log(max(ticks))
    values = [value for curve in panel.curves.values() for _, value in curve]
    top, step = _scale(max([*values, *panel.limits.values()]))

    def x(minutes: float) -> float:
        return left + _PANEL * (math.log(minutes) - first) / (last - first)

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * value / top

    parts = [_text(left, _TOP - 38, panel.head, "head")]
    for number in range(round(top / step) + 1):
        height = y(number * step)
        parts.append(f'  <path d="M{left} {height:.1f}H{left + _PANEL}" stroke="var(--line)"/>')
        parts.append(_text(left - 8, height + 4, f"{number * step:g}", "end"))
    parts += [_text(x(minutes), _BOTTOM + 18, words, "middle") for minutes, words in ticks.items()]
    for words, limit in panel.limits.items():
        height = y(limit)
        parts.append(f'  <path d="M{left} {height:.1f}H{left + _PANEL}" stroke="var(--quiet)" stroke-dasharray="4 4"/>')
        parts.append(_text(left + _PANEL, height - 6, words, "end"))
    key = "".join(
        f'<tspan fill="var(--{colour})">● </tspan>{escape(name)}    '
        for colour, name in zip(_COLOURS, panel.curves, strict=False)
    )
    parts.append(f'  <text x="{left}" y="{_TOP - 18}" xml:space="preserve">{key.rstrip()}</text>')
    for colour, curve in zip(_COLOURS, panel.curves.values(), strict=False):
        points = " ".join(f"{x(minutes):.1f},{y(value):.1f}" for minutes, value in curve)
        parts.append(f'  <polyline points="{points}" fill="none" stroke="var(--{colour})" stroke-width="2"/>')
        parts += [
            f'  <circle cx="{x(minutes):.1f}" cy="{y(value):.1f}" r="3" fill="var(--{colour})"/>'
            for minutes, value in curve
        ]
    return parts


def _scale(most: float) -> tuple[float, float]:
    """(where the scale ends, from one line to the next): about five lines at round numbers."""
    power = 10 ** math.floor(math.log10(most / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if most / (power * factor) <= 5)
    return step * math.ceil(most / step), step


def _text(x: float, y: float, words: str, classes: str = "") -> str:
    return f'  <text x="{x:.1f}" y="{y:.1f}" class="{classes}">{escape(words)}</text>'
