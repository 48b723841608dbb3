"""What ``gputx doctor`` shows: the verdict first, then what was looked at, what was seen, and how to mend it."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gputx.cli.render.words import printable
from gputx.workflows.checks.finding import Finding, Verdict
from gputx.workflows.checks.rounds import Result
from gputx.workflows.doctor import NAMES, DoctorReport

_VERDICT_WIDTH = max(map(len, Verdict)) + 2
_INDENT = _VERDICT_WIDTH + max(map(len, NAMES)) + 2
_NARROWEST = 20
# The first sixteen colours are what the terminal's theme says, and yellow is unreadable on white in most. These have
# a contrast of 4:1 at least on black and on white (by the formula of WCAG 2). They say nothing that the words do not.
_COLOURS = {Verdict.OK: "38;5;28", Verdict.WARNING: "38;5;130", Verdict.FAILED: "1;38;5;161", Verdict.SKIPPED: "2"}


@dataclass(frozen=True)
class Style:
    """How wide lines may be (None: as long as they are), and whether there are colours."""

    width: int | None
    coloured: bool

    @staticmethod
    def of(stream: TextIO | None) -> Style:
        """As the stream can show it. ``NO_COLOR`` is kept: https://no-color.org"""
        if stream is None or not stream.isatty():
            return Style(None, coloured=False)
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in {"dumb", "unknown"}
        return Style(max(shutil.get_terminal_size().columns, _INDENT + _NARROWEST), coloured=not plain)

    def verdict(self, verdict: Verdict) -> str:
        return self.paint(f"{verdict:<{_VERDICT_WIDTH}}", _COLOURS[verdict])

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured else text


def row(result: Result, style: Style) -> str:
    """One check: a line, folded to the terminal's width, and under it what mends it."""
    finding = result.finding
    name = f"{result.name:<{_INDENT - _VERDICT_WIDTH}}"
    lines = _folded(printable(finding.line), style)
    text = f"{style.verdict(finding.verdict)}{name}{lines[0]}\n"
    text += "".join(f"{' ' * _INDENT}{line}\n" for line in lines[1:])
    for detail in finding.details:
        # An address is not folded: the terminal does that, and what is copied stays whole.
        text += f"{' ' * _VERDICT_WIDTH}{printable(detail)}\n"
    if finding.remedy:
        text += f"{' ' * _VERDICT_WIDTH}{style.paint('next:', '1')} {printable(finding.remedy)}\n"
    return text


def total(report: DoctorReport, style: Style) -> str:
    """How many of each."""
    words = {Verdict.WARNING: "warnings"}
    parts = []
    for verdict, count in report.counts.items():
        word = words.get(verdict, str(verdict)) if count > 1 else str(verdict)
        parts.append(style.paint(f"{count} {word}", _COLOURS[verdict]))
    return ", ".join(parts) + "\n"


def _folded(text: str, style: Style) -> list[str]:
    if style.width is None:
        return [text]
    room = style.width - _INDENT
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


class Board:
    """All checks on the terminal while they last, each in its place from the start. What it drew is gone at its end."""

    def __init__(self, names: Sequence[str], style: Style) -> None:
        self._names = names
        self._style = style
        self._seen: dict[str, Finding] = {}
        self._spinner = Spinner("dots")
        # Only rich's own thread draws; telling changes what it will draw next.
        self._live = Live(
            console=Console(stderr=True, highlight=False, no_color=not style.coloured),
            get_renderable=self._render,
            refresh_per_second=10,
            transient=True,
            vertical_overflow="crop",
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def tell(self, result: Result) -> None:
        """Take a result in, from any thread."""
        self._seen[result.name] = result.finding

    def __enter__(self) -> Board:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> Table:
        table = Table.grid()
        table.add_column(width=_VERDICT_WIDTH, no_wrap=True)
        table.add_column(width=_INDENT - _VERDICT_WIDTH, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for name in self._names:
            finding = self._seen.get(name)
            if finding is None:
                table.add_row(self._spinner, name, "")
            else:
                table.add_row(Text.from_ansi(self._style.verdict(finding.verdict)), name, printable(finding.line))
        return table
