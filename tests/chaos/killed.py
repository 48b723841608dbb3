"""C2: KILL at every call and at random moments. Nobody is left to end anything, and yet it ends.

Several clients are killed one after another, each with a journal of its own; then 15 minutes pass in which nobody
does anything; then one of them reaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import schedules
from .aftermath import come_after, launched
from .schedules import AGAIN, Census, Schedule, Strike
from .stage import Stage
from .trial import Played, play

KEY = "C2"
TITLE = "KILL"
SIGNALS = (("KILL",),)
UNIT = 8
SILENCE_SECONDS = 15 * 60.0
PROMISE = "0 live after 15 min with no client, and 0 of anything after one reap"

_CLEAN_UP = ("DeleteKeyPair", "ModifyInstanceAttribute", "TerminateInstances", "DeleteSchedule", "DeleteSecurityGroup")


def points(seed: int, census: Census) -> list[str]:
    return [str(strike) for strike in schedules.points(seed, KEY, census, SIGNALS)]


def schedule(seed: int, index: int, census: Census) -> Schedule:
    rng = schedules.dice(seed, KEY, index)
    strikes = schedules.points(seed, KEY, census, SIGNALS)
    market = rng.choice(("auto", "auto", "spot", "on-demand"))
    if index % AGAIN < len(strikes):
        strike = strikes[index % AGAIN]
        return Schedule(KEY, seed, index, (strike,), point=str(strike), market=market)
    if rng.random() < 0.2:
        return Schedule(KEY, seed, index, _killed_in_clean_up(rng, census), market=market)
    return Schedule(KEY, seed, index, (schedules.draw_strike(rng, census, SIGNALS),), market=market)


def _killed_in_clean_up(rng: Any, census: Census) -> tuple[Strike, ...]:
    """Interrupted while it works, and killed while it tidies up."""
    calls = list(census.calls)
    launch = next(i for i, call in enumerate(calls) if call.action == "RunInstances")
    first_end = next(i for i, call in enumerate(calls) if i > launch and call.action in _CLEAN_UP)
    interrupted = Strike((rng.choice(("INT", "TERM", "HUP")),), rng.choice(calls[launch:first_end]), "response")
    ends = [call for call in calls if call.action in _CLEAN_UP and call.occurrence == 0]
    return (interrupted, Strike(("KILL",), rng.choice(ends), rng.choice(schedules.PHASES)))


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    plays = [_kill(stage, each) for each in unit]
    orphans = [stage.look().since(played.before).live & launched(played) for played in plays]
    after = come_after(stage, unit, plays, seconds=SILENCE_SECONDS)
    zones = {row["instance_id"]: row["zone"] for row in stage.account.table()["instances"]}
    prices = stage.prices()
    records = []
    for played, mine in zip(plays, orphans, strict=True):
        lives = {id_: after.lives.get(id_, 0.0) for id_ in sorted(mine)}
        costs = [seconds / 3600 * prices[zones[id_]] for id_, seconds in lives.items()]
        records.append(
            played.record(
                after.violations(played),
                orphans=sorted(mine),
                orphan_seconds=max(lives.values(), default=0.0),
                orphan_cost=max(costs, default=0.0),
                reap_code=after.code,
                unit=after.unit,
            )
        )
    after.clear(stage)
    return records


def _kill(stage: Stage, each: Schedule) -> Played:
    played = play(stage, each)
    stage.settle()
    return played
