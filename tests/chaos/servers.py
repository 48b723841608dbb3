"""C10: `gputx api up` and `gputx api down` killed at every kind of call and at random moments.

Several are killed one after another, each with a journal of its own. A server that was up by then is kept, as its
person asked; nobody uses it, so that its idle time is over within the 15 minutes in which nobody does anything. Then
one of them reaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import census as counting
from . import schedules
from .aftermath import come_after, launched
from .schedules import Call, Census, Schedule, Strike
from .stage import Stage
from .trial import play

KEY = "C10"
TITLE = "`api up` and `api down`, KILL"
SIGNALS = (("KILL",),)
UNIT = 6
SILENCE_SECONDS = 15 * 60.0
PROMISE = "0 live after 15 min in which nobody uses it, and 0 of anything after one reap"

PROGRAM = (str(Path(__file__).with_name("up_and_down.py")),)
ARGUMENTS = ("api", "--idle-timeout", "5m", "--another")
"""Each trial's client is another machine of the same person."""

_CALLS = (
    "ImportKeyPair",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "RunInstances",
    "CreateSchedule",
    "CreateTags",
    "UpdateSchedule",
    "DeleteKeyPair",
    "ModifyInstanceAttribute",
    "TerminateInstances",
    "DeleteSchedule",
    "DeleteSecurityGroup",
)


def take_census(stage: Stage, *, runs: int = 2) -> Census:
    """The calls of a server's life that nobody disturbs."""
    return counting.take(stage, program=PROGRAM, arguments=ARGUMENTS, runs=runs)


def points(seed: int, census: Census) -> list[str]:
    """The calls that make or end something, each before, after and at its response."""
    return [str(strike) for strike in schedules.points_of(seed, KEY, census, SIGNALS, _CALLS)]


def schedule(seed: int, index: int, census: Census) -> Schedule:
    strikes = schedules.points_of(seed, KEY, census, SIGNALS, _CALLS)
    # While it is installed, waited for and kept, hardly anything is asked of the account.
    return schedules.point_or_moment(seed, KEY, index, census, strikes, moments=0.6)


def at(action: str, occurrence: int, phase: str, index: int = 0) -> Schedule:
    """A schedule for one certain call."""
    service = "scheduler" if action.endswith("Schedule") else "ec2"
    return Schedule(KEY, 0, index, (Strike(("KILL",), Call(service, action, occurrence), phase),))


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    plays = []
    for each in unit:
        plays.append(play(stage, each, program=PROGRAM, arguments=ARGUMENTS))
        stage.settle()
    kept = [stage.look().since(played.before).live & launched(played) for played in plays]
    after = come_after(stage, unit, plays, seconds=SILENCE_SECONDS)
    records = [
        played.record(
            after.violations(played),
            orphans=sorted(mine),
            orphan_seconds=max((after.lives.get(id_, 0.0) for id_ in mine), default=0.0),
            reap_code=after.code,
            unit=after.unit,
        )
        for played, mine in zip(plays, kept, strict=True)
    ]
    after.clear(stage)
    return records
