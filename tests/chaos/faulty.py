"""C4: AWS at its worst: lost answers, resets, 5xx, throttling, lag, credentials that expire in mid-run.

The client does everything by itself here; what it must not do is launch twice, launch while it tidies up, or say that
something has ended that runs.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from typing import Any

from . import schedules
from .schedules import Census, Schedule
from .stage import Stage
from .trial import Played, Turner, play, run_arguments

KEY = "C4"
TITLE = "lost answers, resets, 5xx, throttling, lag, expired credentials"
UNIT = 1
PROMISE = "0 duplicates, 0 launches by clean-up, 0 false ends"

SILENCE_SECONDS = 15 * 60.0
_SIGNALS = (("INT",), ("TERM",), ("HUP",), ("INT", "INT"))
_WEIGHTY = ("ec2:RunInstances", "ec2:TerminateInstances", "ec2:ImportKeyPair", "ec2:CreateSecurityGroup")
_LASTING = ("ec2:RunInstances", "ec2:TerminateInstances")
"""Where a fault may last longer than the patience of one call."""

_LAG = "lag 500s"
_STILL_RUNNING = 5
_TOLD = ("could not be deleted yet", "could not confirm")
_PATIENT = "waits out the lag"
_ARGUMENTS = {"": (), _PATIENT: ("--boot-timeout", "15m")}
# A client that waits is given time: more of it where there is nothing to do but to wait out the lag.
_PACE, _PACE_OF_LAG = 10.0, 100.0


def points(_seed: int, _census: Census) -> list[str]:
    return []


def schedule(seed: int, index: int, census: Census) -> Schedule:
    rng = schedules.dice(seed, KEY, index)
    faults = tuple(dict.fromkeys(_draw(rng, census) for _ in range(rng.randint(1, 3))))
    struck = rng.random() < 0.2
    strikes = (schedules.draw_strike(rng, census, _SIGNALS),) if struck else ()
    market = rng.choice(("auto", "auto", "spot", "on-demand"))
    variant = _PATIENT if _LAG in faults and rng.random() < 0.5 else ""
    return Schedule(KEY, seed, index, strikes, faults=faults, market=market, variant=variant)


def _draw(rng: random.Random, census: Census) -> str:
    kinds = {
        "drop=after": 5,
        "drop=before": 2,
        "error=InternalError": 2,
        "error=ServiceUnavailable": 1,
        "error=RequestLimitExceeded": 2,
        "lag": 1,
        "expired": 2,
    }
    (kind,) = rng.choices(list(kinds), weights=list(kinds.values()))
    if kind == "lag":
        return _LAG
    making = len(census.calls) - len(census.making)
    if kind == "expired":
        first = rng.randrange(making) if rng.random() < 0.1 else rng.randrange(making, len(census.calls))
        return f"* error=ExpiredToken skip={first} times={rng.randint(1, 12)}"
    pool = _WEIGHTY if rng.random() < 0.6 else sorted({f"{c.service}:{c.action}" for c in census.making})
    action = rng.choice(pool)
    made = max(call.occurrence for call in census.calls if f"{call.service}:{call.action}" == action) + 1
    times = rng.choice((1, 1, 2, 3, 6) if action in _LASTING else (1, 1, 2, 3))
    return f"{action} {kind} skip={rng.randrange(made)} times={times}"


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    return [_perform(stage, each) for each in unit]


def _perform(stage: Stage, each: Schedule) -> dict[str, Any]:
    with Turner(stage, pace=_PACE_OF_LAG if _LAG in each.faults else _PACE):
        played = play(stage, each, arguments=(*run_arguments(each), *_ARGUMENTS[each.variant]))
    stage.settle()
    rows = [row for row in stage.account.table()["instances"] if row["tags"].get("gputx:run") in played.run_ids]
    stage.account.advance(2)
    left = stage.look().since(played.before)
    violations = _duplicates(rows) + _launches_by_clean_up(played)
    if played.hung:
        violations.append("the client hung")
    if "Traceback" in played.stderr:
        violations.append("a traceback")
    if played.code != _STILL_RUNNING and (left.live or played.at_exit.live):
        violations.append(f"ended with {played.code}, and live: {sorted(left.live | played.at_exit.live)}")
    if left.everything and not any(words in played.stderr for words in _TOLD):
        violations.append(f"left, and not said: {left.everything}")
    if left.live:
        stage.pass_time(SILENCE_SECONDS)
        if still := stage.look().since(played.before).live:
            violations.append(f"live after {SILENCE_SECONDS:.0f} s of silence: {sorted(still)}")
    effective = [text for text, hits in played.fault_hits.items() if hits or text == _LAG]
    record = played.record(violations, faults=played.fault_hits, left=left.everything)
    record["counted"] = bool(effective) and any(call["action"] == "RunInstances" for call in played.calls)
    record["why_not_counted"] = None if record["counted"] else "no fault took effect, or nothing was launched"
    if left.everything:
        stage.sweep()
    shutil.rmtree(played.home)
    return record


def _duplicates(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Two instances of one run at a time, or two of one token, ever."""
    found = [
        f"{n} instances of token {token}" for token, n in Counter(r["client_token"] for r in rows).items() if n > 1
    ]
    in_order = sorted(rows, key=lambda row: row["launched"])
    for earlier, later in itertools.pairwise(in_order):
        ended = earlier["since"].get("shutting-down", earlier["since"].get("terminated"))
        if ended is None or ended > later["launched"]:
            found.append(f"{earlier['instance_id']} and {later['instance_id']} ran at the same time")
    return found


def _launches_by_clean_up(played: Played) -> list[str]:
    """Launches of a run that had begun to tidy up: the deletion of its key is the first thing it does."""
    found = []
    for run in sorted(played.run_ids):
        launches = [
            c["number"] for c in played.calls if c["action"] == "RunInstances" and c["tags"]["gputx:run"] == run
        ]
        deletions = (
            [c["number"] for c in played.calls if c["action"] == "DeleteKeyPair" and c["number"] > launches[0]]
            if launches
            else []
        )
        if deletions and launches[-1] > deletions[0]:
            found.append(f"call {launches[-1]} launches for {run}, whose key was deleted in call {deletions[0]}")
    return found
