"""What each phase is called while it goes on and when it is done; text that is safe to print; columns."""

from __future__ import annotations

from collections.abc import Sequence

PHASES = {
    "pools": ("looking for capacity", "looked for capacity"),
    "launch": ("launching", "launched"),
    "boot": ("booting", "booted"),
    "ssh": ("waiting for SSH", "SSH up"),
    "audio": ("preparing audio", "audio ready"),
    "upload": ("sending audio", "sent"),
    "model": ("loading the model", "model loaded"),
    "transcribe": ("transcribing", "transcribed"),
    "store": ("saving to S3", "saved"),
    "terminate": ("ending the instance", "terminated"),
    "look": ("looking for leftovers", "looked for leftovers"),
    "rehearse": ("rehearsing their end", "would be ended"),
    "reap": ("ending leftovers", "ended"),
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
