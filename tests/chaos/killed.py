"""C2: KILL at every call and at random moments. Nobody is left to end anything, and yet it ends.

Several clients are killed one after another, each with a journal of its own; then 15 minutes pass in which nobody
does anything; then one of them reaps.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from . import schedules
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
    orphans = [stage.look().since(played.before).live & _launched(played) for played in plays]
    stage.pass_time(SILENCE_SECONDS)
    table = {row["instance_id"]: row for row in stage.account.table()["instances"]}
    after_silence = stage.look()
    # One of them; its journal knows of one run in eight, and the tags tell it of the rest.
    reaper = schedules.dice(unit[0].seed, KEY, unit[0].index).choice(plays)
    code, said = stage.run(reaper.home, "reap", "--yes", timeout=200)
    stage.account.advance(2)
    after_reap = stage.look()
    prices = stage.prices()
    records = []
    for played, mine in zip(plays, orphans, strict=True):
        violations = []
        if still := sorted(_launched(played) & after_silence.live):
            violations.append(f"live after {SILENCE_SECONDS:.0f} s of silence: {still}")
        if after_reap.everything:
            violations.append(
                f"left after one reap (of the trials {[p.schedule.index for p in plays]}): {after_reap.everything}"
            )
        if code not in (0, 5):
            violations.append(f"reap ended with {code}: {said[-1500:]}")
        lives = [_life(table[id_]) for id_ in sorted(mine)]
        costs = [_life(table[id_]) / 3600 * prices[table[id_]["zone"]] for id_ in mine]
        records.append(
            played.record(
                violations,
                orphans=sorted(mine),
                orphan_seconds=max(lives, default=0.0),
                orphan_cost=max(costs, default=0.0),
                reap_code=code,
                unit=[p.schedule.index for p in plays],
            )
        )
    if after_reap.everything:
        stage.sweep()
    for played in plays:
        shutil.rmtree(played.home)
    return records


def _kill(stage: Stage, each: Schedule) -> Played:
    played = play(stage, each)
    stage.settle()
    return played


def _launched(played: Played) -> set[str]:
    return {id_ for call in played.calls if call["action"] == "RunInstances" for id_ in call["instances"]}


def _life(row: dict[str, Any]) -> float:
    """From its launch to its end, on the sandbox's clock."""
    return round(float(row["since"].get("shutting-down", row["since"].get("terminated", 0.0)) - row["launched"]), 1)
