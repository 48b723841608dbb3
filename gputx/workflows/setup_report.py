"""What ``gputx setup`` and ``gputx teardown`` found of each part, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gputx.errors import GputxError
from gputx.workflows.setup_parts import Part

VERSION = 1

Named = tuple[str, str]
"""Kind and name: what tells one part from every other."""


class Verdict(StrEnum):
    """What became of a part, or would."""

    WOULD_MAKE = "would make"
    WOULD_COMPLETE = "would complete"
    WOULD_ASK = "would ask for"
    WOULD_REMOVE = "would remove"
    MADE = "made"
    COMPLETED = "completed"
    ASKED = "asked for"
    REMOVED = "removed"
    NOT_MADE = "not made"
    NOT_REMOVED = "not removed"
    UNSEEN = "not looked at"
    TAKEN = "taken"
    LEFT_ALONE = "left alone"
    SKIPPED = "skipped"
    KEPT = "kept"
    THERE = "there"


REHEARSED = {
    Verdict.WOULD_MAKE: Verdict.MADE,
    Verdict.WOULD_COMPLETE: Verdict.COMPLETED,
    Verdict.WOULD_ASK: Verdict.ASKED,
    Verdict.WOULD_REMOVE: Verdict.REMOVED,
}
"""What is only intended, and what it is once done."""


@dataclass(frozen=True)
class Row:
    """One part. ``command`` is what a person can paste, where it is theirs to decide; ``region`` None: everywhere."""

    kind: str
    name: str
    region: str | None
    verdict: Verdict
    why: str = ""
    cost: str = ""
    command: str | None = None

    @property
    def due(self) -> bool:
        """Whether it is still to be done."""
        return self.verdict in REHEARSED


@dataclass
class SetupReport:
    """``account`` is its twelve digits. ``notes`` are lines for a person, about more than one part."""

    on: str
    account: str
    region: str
    dry_run: bool
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ending: GputxError | None = None
    """Why not all that was intended is so."""

    @property
    def due(self) -> frozenset[Named]:
        """What a rehearsal found to be done."""
        return frozenset((row.kind, row.name) for row in self.rows if row.due)


def row(part: Part, region: str, verdict: Verdict, why: str = "", command: str | None = None) -> Row:
    """The row of a part in the report on a region."""
    return Row(part.kind, part.name, None if part.everywhere else region, verdict, why, part.cost, command)


def agreed(rows: Iterable[tuple[Part, Row]], only: frozenset[Named] | None) -> list[tuple[Part, Row]]:
    """Leave out what has changed since a person was asked; None where nobody was."""
    return [(part, it) for part, it in rows if it.due and (only is None or (it.kind, it.name) in only)]


def setup_document(report: SetupReport) -> dict[str, Any]:
    """What ``--json`` prints; docs/setup.md describes it."""
    return {
        "version": VERSION,
        "on": report.on,
        "account": report.account,
        "region": report.region,
        "dry_run": report.dry_run,
        "error": report.ending.message if report.ending else None,
        "parts": [
            {
                "verdict": it.verdict,
                "kind": it.kind,
                "name": it.name,
                "region": it.region,
                "why": it.why or None,
                "cost": it.cost,
                "command": it.command,
            }
            for it in report.rows
        ],
        "notes": list(report.notes),
    }
