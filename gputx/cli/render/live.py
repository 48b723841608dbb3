"""On a terminal: phases that move while they last and stay as one line with their time when they are done."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gputx.cli.render.plain import attempt_line, is_trouble, plan_line
from gputx.cli.render.words import doing, done, how_far, printable
from gputx.events import (
    AttemptMade,
    Event,
    FileFinished,
    Note,
    OutputLine,
    PhaseFinished,
    PhaseProgress,
    PhaseStarted,
    PlanMade,
    SegmentReady,
)
from gputx.units import duration

_TICK_SECONDS = 0.1
_ECHO_ROOM = 4
_BAR_WIDTH = 20
_WORDS_WIDTH = 26


@dataclass
class _Open:
    """A phase that goes on."""

    name: str
    detail: str
    spinner: Spinner
    since: float
    """On the machine's own clock: a display shows the seconds that a person waits."""
    progress: PhaseProgress | None = None
    heard: float = 0.0
    """When that came, on the same clock."""


class LiveReader:
    """Draws with rich on stderr. Colours carry no meaning that a word or sign does not."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open: list[_Open] = []
        self._last_text = ""
        # rich places its lines before it writes them, so two threads that draw at once leave torn lines behind:
        # its own refreshing is off, and whoever draws holds the lock.
        self._live = Live(console=console, get_renderable=self._render, auto_refresh=False, transient=True)
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="display", daemon=True)

    def start(self) -> None:
        self._live.start()
        self._ticker.start()

    def stop(self) -> None:
        """Take away what moves, and give the cursor back."""
        self._over.set()
        with self._lock:
            self._open.clear()
            self._last_text = ""
            self._live.stop()

    def leave(self, stream: TextIO) -> None:
        """Leave what is drawn as it is, from another thread than the one that is held up in drawing.

        What was waiting for its turn would otherwise be drawn over what others say next. That begins, on ``stream``,
        on a line of its own, with a cursor; nothing is written before it is.
        """
        self._over.set()
        stream.write("\x1b[?25h\x1bE")

    def _tick(self) -> None:
        """Keep spinners and seconds moving, until the end or until the terminal has gone."""
        with contextlib.suppress(OSError):
            while not self._over.wait(_TICK_SECONDS):
                with self._lock:
                    if not self._over.is_set():
                        self._live.refresh()

    def say(self, text: str) -> None:
        """A line above what moves."""
        with self._lock:
            if not self._over.is_set():
                self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(Padding(Text(printable(text)), (0, 0, 0, 2)))

    def __call__(self, event: Event) -> None:
        with self._lock:
            if not self._over.is_set():
                self._show(event)

    def _show(self, event: Event) -> None:
        match event:
            case PlanMade():
                self._say(plan_line(event))
                self._console.print()
            case PhaseStarted():
                self._open.append(_Open(event.name, event.detail, Spinner("dots", style="cyan"), time.monotonic()))
            case PhaseProgress():
                for phase in self._of(event.name):
                    phase.progress, phase.heard = event, time.monotonic()
            case PhaseFinished():
                self._close(event)
            case SegmentReady() | OutputLine():
                self._last_text = printable(event.text)
            case AttemptMade() if event.code is not None:
                self._say(f"    {attempt_line(event)}")
            case Note():
                self._say(f"{'!' if event.level == 'warning' else '·'} {event.text}")
            case FileFinished():
                self._last_text = ""
                if is_trouble(event):
                    self._say(f"✗ {event.input}: {event.error}")
                elif event.outputs:
                    self._say(f"✓ wrote {', '.join(event.outputs)}")
            case _:
                return

    def _of(self, name: str) -> list[_Open]:
        return [phase for phase in self._open if phase.name == name][:1]

    def _close(self, event: PhaseFinished) -> None:
        self._last_text = "" if event.name.startswith("step ") else self._last_text
        for phase in self._of(event.name):
            self._open.remove(phase)
        sign, style = ("✓", "green") if event.ok else ("✗", "red")
        words = done(event.name) if event.ok else doing(event.name)
        detail = event.detail if event.ok else " · ".join(filter(None, ("not done", event.detail)))
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True, width=_WORDS_WIDTH)
        line.add_column(ratio=1, overflow="fold")
        line.add_column(justify="right", no_wrap=True)
        line.add_row(
            Text.assemble("  ", (sign, style), f" {words}"),
            Text(printable(detail), style="dim"),
            Text(duration(event.time - event.start), style="dim"),
        )
        self._console.print(line)

    def _render(self) -> RenderableType:
        rows: list[RenderableType] = []
        for phase in self._open:
            # A terminal echoes ^C where the cursor stands, behind the last row: without room there it would break
            # the line, and what is drawn next would miss its place.
            row = Table.grid(padding=(0, 1), expand=True)
            row.width = self._console.width - _ECHO_ROOM
            row.add_column(no_wrap=True, width=2)
            row.add_column(no_wrap=True, width=1)
            row.add_column(no_wrap=True, width=_WORDS_WIDTH - 4)
            row.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
            row.add_column(justify="right", no_wrap=True)
            middle = (
                self._bar(phase.progress, phase.heard - phase.since)
                if phase.progress
                else Text(printable(phase.detail), style="dim")
            )
            elapsed = Text(duration(time.monotonic() - phase.since), style="dim")
            row.add_row(" ", phase.spinner, doing(phase.name), middle, elapsed)
            rows.append(row)
        if self._last_text:
            room = max(self._console.width - 8 - _ECHO_ROOM, 20)
            rows.append(Text("     … " + self._last_text[-room:], style="italic", no_wrap=True))
        return Group(*rows)

    @staticmethod
    def _bar(progress: PhaseProgress, elapsed: float) -> RenderableType:
        share = progress.done / progress.total if progress.total else 0.0
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH),
            Text(f"{share:4.0%}  {how_far(progress, elapsed)}", no_wrap=True, overflow="ellipsis"),
        )
        return bar
