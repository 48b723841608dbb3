"""What ``gputx doctor`` prints: readable at 80 columns, plain elsewhere, and commands in one piece."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from gputx.cli.render.findings import Style, row, total
from gputx.workflows.checks.finding import failed, ok, skipped, warning
from gputx.workflows.checks.rounds import Result
from gputx.workflows.doctor import NAMES, DoctorReport

LONG = "transcription-123456789012 lacks: encryption, TLS only, expiry, and whatever else there is to be said of it"
COMMAND = "aws s3api put-public-access-block --bucket transcription-123456789012 --public-access-block-configuration x"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_each_where_there_is_no_terminal() -> None:
    style = Style.of(io.StringIO())
    text = row(Result("bucket", warning(LONG, COMMAND), 0.1), style)
    assert text == f"warning  bucket           {LONG}\n         next: {COMMAND}\n"


def test_a_line_is_folded_to_the_terminal_and_a_command_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    style = Style.of(Terminal())
    assert style == Style(80, coloured=True)
    lines = ESCAPES.sub("", row(Result("bucket", warning(LONG, COMMAND), 0.1), style)).splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1] == f"         next: {COMMAND}"
    assert " ".join(line[26:] for line in lines[:-1]) == LONG


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_done_without(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    style = Style.of(Terminal())
    assert not style.coloured
    assert "\x1b" not in row(Result("image", failed("there is none", "gputx build-ami"), 0.1), style)


def luminance(colour: int) -> float:
    """Relative luminance, as WCAG 2 defines it, of one of xterm's colours 16 to 231: a cube of six levels a side."""
    steps = [(0, 95, 135, 175, 215, 255)[(colour - 16) // side % 6] / 255 for side in (36, 6, 1)]
    linear = [step / 12.92 if step <= 0.03928 else ((step + 0.055) / 1.055) ** 2.4 for step in steps]
    return sum(weight * step for weight, step in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_colours_are_read_on_black_and_on_white() -> None:
    style = Style(None, coloured=True)
    texts = [row(Result("x", finding, 0.1), style) for finding in (ok("x"), warning("x", "y"), failed("x", "y"))]
    colours = [int(found[1]) for text in texts if (found := re.search(r"38;5;(\d+)m", text))]
    assert len(colours) == 3
    for colour in colours:
        assert 1.05 / (luminance(colour) + 0.05) >= 4
        assert (luminance(colour) + 0.05) / 0.05 >= 4


def test_every_verdict_is_a_word_and_every_name_has_room() -> None:
    style = Style(None, coloured=True)
    for finding in (ok("x"), warning("x", "y"), failed("x", "y"), skipped("x")):
        for name in NAMES:
            text = ESCAPES.sub("", row(Result(name, finding, 0.1), style))
            assert text.startswith(f"{finding.verdict} ")
            assert text[:26].endswith("  ")
            assert name in text[:26]


def test_what_aws_says_can_t_move_the_cursor() -> None:
    text = row(Result("image", failed("a name\x1b[2J\nof two lines", "x"), 0.1), Style(None, coloured=False))
    assert "\x1b" not in text
    assert text.count("\n") == 2


def test_the_total() -> None:
    results: Any = [Result(str(n), f, 0.0) for n, f in enumerate((ok("x"), warning("x", "y"), warning("x", "y")))]
    assert total(DoctorReport(None, results), Style(None, coloured=False)) == "1 ok, 2 warnings\n"  # type: ignore[arg-type]
