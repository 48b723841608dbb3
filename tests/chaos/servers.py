"""C10: `gputx api up` and `gputx api down` killed at every kind of call and at random moments.

Several are killed one after another, each with a journal of its own. A server that was up by then is kept, as its
person asked; nobody uses it, so that its idle time is over within the 15 minutes in which nobody does anything. Then
one of them reaps.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import census as counting
from . import schedules
from .schedules import AGAIN, Call, Census, Schedule, Strike
from .stage import Stage
from .trial import Played, play

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
    return [str(strike) for strike in _points(seed, census)]


def _points(seed: int, census: Census) -> list[Strike]:
    calls = tuple(call for call in census.calls if call.action in _CALLS)
    return schedules.points(seed, KEY, Census(calls, census.seconds), SIGNALS)


def schedule(seed: int, index: int, census: Census) -> Schedule:
    strikes = _points(seed, census)
    if index % AGAIN < len(strikes):
        strike = strikes[index % AGAIN]
        return Schedule(KEY, seed, index, (strike,), point=str(strike))
    rng = schedules.dice(seed, KEY, index)
    if rng.random() < 0.6:
        # While it is installed, waited for and kept, hardly anything is asked of the account.
        moment = round(rng.uniform(0.15, 1.0) * census.seconds, 3)
        return Schedule(KEY, seed, index, (Strike(("KILL",), seconds=moment),))
    return Schedule(KEY, seed, index, (schedules.draw_strike(rng, census, SIGNALS),))


def at(action: str, occurrence: int, phase: str, index: int = 0) -> Schedule:
    """A schedule for one certain call."""
    service = "scheduler" if action.endswith("Schedule") else "ec2"
    return Schedule(KEY, 0, index, (Strike(("KILL",), Call(service, action, occurrence), phase),))


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    plays = []
    for each in unit:
        plays.append(play(stage, each, program=PROGRAM, arguments=ARGUMENTS))
        stage.settle()
    kept = [stage.look().since(played.before).live & _launched(played) for played in plays]
    stage.pass_time(SILENCE_SECONDS)
    table = {row["instance_id"]: row for row in stage.account.table()["instances"]}
    after_silence = stage.look()
    reaper = schedules.dice(unit[0].seed, KEY, unit[0].index).choice(plays)
    code, said = stage.run(reaper.home, "reap", "--yes", timeout=200)
    stage.account.advance(2)
    after_reap = stage.look()
    records = []
    for played, mine in zip(plays, kept, strict=True):
        violations = []
        if still := sorted(_launched(played) & after_silence.live):
            violations.append(f"live after {SILENCE_SECONDS:.0f} s in which nobody used it: {still}")
        if after_reap.everything:
            violations.append(
                f"left after one reap (of the trials {[p.schedule.index for p in plays]}): {after_reap.everything}"
            )
        if code not in (0, 5):
            violations.append(f"reap ended with {code}: {said[-1500:]}")
        if played.hung:
            violations.append("the client hung")
        records.append(
            played.record(
                violations,
                orphans=sorted(mine),
                orphan_seconds=max((_life(table[id_]) for id_ in mine), default=0.0),
                reap_code=code,
                unit=[p.schedule.index for p in plays],
            )
        )
    if after_reap.everything:
        stage.sweep()
    for played in plays:
        shutil.rmtree(played.home)
    return records


def _launched(played: Played) -> set[str]:
    return {id_ for call in played.calls if call["action"] == "RunInstances" for id_ in call["instances"]}


def _life(row: dict[str, Any]) -> float:
    """From its launch to its end, on the sandbox's clock."""
    return round(float(row["since"].get("shutting-down", row["since"].get("terminated", 0.0)) - row["launched"]), 1)
