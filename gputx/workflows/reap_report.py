"""What ``gputx reap`` found, what became of each thing, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gputx.errors import GputxError, InterruptedBySignal, StillRunningError
from gputx.lease.reaper import Left, Reaped
from gputx.lease.unseen import Unseen
from gputx.lease.verdict import Verdict
from gputx.models import Kind, Leftover

Named = tuple[str, Kind, str]
"""Region, kind and id: what tells one thing from every other."""


class Fate(StrEnum):
    """What became of a thing, or would have."""

    ENDED = "ended"
    WOULD_END = "would end"
    LEFT = "not ended"
    KEPT = "kept"


@dataclass(frozen=True)
class Row:
    """One thing, its fate, and why. ``command`` would end it by hand, where it was not ended."""

    leftover: Leftover
    fate: Fate
    why: str
    command: str | None = None


@dataclass(frozen=True)
class Blind:
    """What could not be looked for."""

    region: str
    what: str
    why: str


@dataclass
class ReapReport:
    """``time`` is seconds since the epoch, on the account's clock."""

    on: str
    caller: str
    regions: tuple[str, ...]
    time: float
    dry_run: bool
    rows: list[Row] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)
    blind: list[Blind] = field(default_factory=list)
    ending: GputxError | None = None
    """Why not all is well: something may still run, or could not be removed or looked for."""

    @property
    def due(self) -> frozenset[Named]:
        """What a rehearsal found to be ended."""
        return frozenset(named(row.leftover) for row in self.rows if row.fate is Fate.WOULD_END)


def named(leftover: Leftover) -> Named:
    return (leftover.region, leftover.kind, leftover.id)


def rows(verdicts: Sequence[Verdict], reaped: Reaped, *, dry_run: bool) -> list[Row]:
    """One row for each verdict: what ends first, then what is kept; in each, one run after another."""
    ended = set(reaped.ended)
    left = {item.leftover: item for item in reaped.left}
    told = []
    for verdict in verdicts:
        thing = verdict.leftover
        if thing in ended:
            told.append(Row(thing, Fate.WOULD_END if dry_run else Fate.ENDED, verdict.why))
        elif thing in left:
            told.append(Row(thing, Fate.LEFT, left[thing].why, left[thing].command))
        else:
            told.append(Row(thing, Fate.KEPT, verdict.why))
    kinds = list(Kind)
    return sorted(told, key=lambda r: (r.fate is Fate.KEPT, r.leftover.run_id, kinds.index(r.leftover.kind)))


def ending(
    left: Sequence[Left], unseen: Sequence[Unseen], blind: Sequence[Blind], signum: int | None
) -> GputxError | None:
    """How a reap ended that was no rehearsal, as the error to be told; None where nothing is left that should end."""
    running = [item for item in left if item.tried and item.leftover.kind in {Kind.INSTANCE, Kind.FLEET}]
    landing = [item for item in unseen if item.may_run]
    if running or landing:
        ids = [item.leftover.id for item in running] + [item.id for item in landing if item.id]
        what = ", ".join(ids) or "a launch that is not visible yet"
        commands = [item.command for item in running] + [item.command for item in landing if item.command]
        return StillRunningError(
            f"could not confirm that {what} has ended",
            details=tuple([f"{item.leftover.id}: {item.why}" for item in running] + [item.what for item in landing]),
            hint="; ".join(commands) or "gputx reap looks again",
        )
    if signum is not None:
        return InterruptedBySignal(signum)
    troubles = [f"{item.leftover.kind} {item.leftover.id}: {item.why}" for item in left]
    troubles += [item.what for item in unseen if not item.ended]
    if not troubles and not blind:
        return None
    counted = f"{len(troubles)} thing{'s' * (len(troubles) > 1)} could not be removed" if troubles else ""
    unlooked = "not everything could be looked for" if blind else ""
    return GputxError(
        " and ".join(filter(None, (counted, unlooked))),
        details=(*troubles, *(f"could not look for {item.what} in {item.region}: {item.why}" for item in blind)),
        hint="gputx reap again, when what stands in the way is gone",
    )
