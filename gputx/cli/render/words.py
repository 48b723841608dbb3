"""What each phase is called while it goes on and when it is done; text that is safe to print; columns."""

from __future__ import annotations

from collections.abc import Sequence

from gputx.events import PhaseProgress
from gputx.units import duration, position, size

PHASES = {
    "pools": ("looking for capacity", "looked for capacity"),
    "launch": ("launching", "launched"),
    "boot": ("booting", "booted"),
    "ssh": ("waiting for SSH", "SSH up"),
    "audio": ("preparing audio", "audio ready"),
    "upload": ("sending audio", "sent"),
    "model": ("loading the model", "model loaded"),
    "engines": ("asking what can run there", "can run there"),
    "transcribe": ("transcribing", "transcribed"),
    "store": ("saving to S3", "saved"),
    "found": ("looking for an image like it", "looked for an image like it"),
    "server": ("looking for a server of ours", "looked for a server of ours"),
    "install": ("installing the server", "server installed"),
    "health": ("waiting for the server", "server answers"),
    "drain": ("waiting for its jobs", "waited for its jobs"),
    "recipe": ("sending the recipe", "recipe sent"),
    "checks": ("checking", "checked"),
    "image": ("making the image", "image made"),
    "finish": ("finishing the image", "image finished"),
    "undo": ("taking the image back", "image taken back"),
    "prune": ("taking images away", "images taken away"),
    "terminate": ("ending the instance", "terminated"),
    "look": ("looking for leftovers", "looked for leftovers"),
    "rehearse": ("rehearsing their end", "would be ended"),
    "reap": ("ending leftovers", "ended"),
    "account": ("looking at the account", "looked at the account"),
    "make": ("making", "made"),
    "complete": ("completing", "completed"),
    "ask": ("asking AWS for", "asked AWS for"),
    "ends": ("waiting for the end", "ended"),
    "remove": ("removing", "removed"),
}


def doing(phase: str) -> str:
    return PHASES.get(phase, (phase, phase))[0]


def done(phase: str) -> str:
    return PHASES.get(phase, (phase, phase))[1]


def printable(text: str) -> str:
    """A file's name as one line that can't move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def how_far(progress: PhaseProgress, elapsed: float) -> str:
    """``13:39 of 20:04 · 171× real time · 2 s left · 27 windows`` for audio, the first part alone for bytes.

    Args:
        progress: the last word of a phase.
        elapsed: seconds from the phase's beginning to then.
    """
    if progress.unit != "seconds":
        return f"{size(progress.done)} of {size(progress.total)}"
    parts = [f"{position(progress.done)} of {position(progress.total)}"]
    if progress.done > 0 and elapsed > 0:
        pace = progress.done / elapsed
        parts += [f"{pace:.0f}× real time" if pace >= 10 else f"{pace:.1f}× real time"]
        parts += [f"{duration((progress.total - progress.done) / pace)} left"] if progress.done < progress.total else []
    return " · ".join([*parts, progress.detail] if progress.detail else parts)
