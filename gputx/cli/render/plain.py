"""Without a terminal: one plain line an event, no escape codes."""

from __future__ import annotations

from collections.abc import Callable

from gputx.cli.render.words import doing, done, printable
from gputx.events import AttemptMade, Event, FileFinished, Note, OutputLine, PhaseFinished, PhaseStarted, PlanMade
from gputx.units import duration


class PlainReader:
    """Writes lines with ``write``; ``quiet`` keeps only what went wrong."""

    def __init__(self, write: Callable[[str], None], *, quiet: bool) -> None:
        self._write = write
        self._quiet = quiet

    def __call__(self, event: Event) -> None:
        if (line := describe(event)) and (not self._quiet or is_trouble(event)):
            self._write(printable(line))


def is_trouble(event: Event) -> bool:
    """Whether it should be heard even by someone who asked for quiet."""
    return (isinstance(event, Note) and event.level == "warning") or (
        isinstance(event, FileFinished) and event.error is not None
    )


def describe(event: Event) -> str | None:
    """One line for an event, or None for one that is only for a live display."""
    line: str | None = None
    match event:
        case PlanMade():
            line = plan_line(event)
        case PhaseStarted():
            line = f"{doing(event.name)}{_about(event.detail)}"
        case PhaseFinished():
            what = done(event.name) if event.ok else f"failed: {doing(event.name)}"
            line = f"{what}{_about(event.detail)} ({duration(event.time - event.start)})"
        case AttemptMade() if event.code is not None:
            line = attempt_line(event)
        case OutputLine():
            line = f"{event.source} | {event.text}"
        case Note():
            line = f"{'warning: ' if event.level == 'warning' else ''}{event.text}"
        case FileFinished() if event.error is not None:
            line = f"error: {event.input}: {event.error}"
        case FileFinished() if event.outputs:
            line = f"wrote {', '.join(event.outputs)}"
    return line


def plan_line(plan: PlanMade) -> str:
    """What is about to be done, in one line."""
    what = plan.inputs[0] if len(plan.inputs) == 1 else f"{len(plan.inputs)} files"
    return f"{what} · {duration(plan.audio_seconds)} · {plan.language} · {plan.place}"


def attempt_line(attempt: AttemptMade) -> str:
    """A pool that gave nothing, and why."""
    return f"{attempt.pool}: {attempt.outcome} ({attempt.code})"


def _about(detail: str) -> str:
    return f": {detail}" if detail else ""
