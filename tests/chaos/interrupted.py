"""C1: INT, TERM, HUP and INT twice, at every call and at random moments. Nothing runs once the client has gone."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Sequence
from typing import Any

from . import schedules
from .schedules import AGAIN, Census, Schedule
from .stage import Stage
from .trial import Played, play

KEY = "C1"
TITLE = "INT, TERM, HUP, INT twice"
SIGNALS = (("INT",), ("TERM",), ("HUP",), ("INT", "INT"))
UNIT = 1
PROMISE = "0 live when the client has gone"

_TOLD = "could not be deleted yet"
_OVER = re.compile("nothing left running|nothing was launched")


def points(seed: int, census: Census) -> list[str]:
    return [str(strike) for strike in schedules.points(seed, KEY, census, SIGNALS)]


def schedule(seed: int, index: int, census: Census) -> Schedule:
    rng = schedules.dice(seed, KEY, index)
    strikes = schedules.points(seed, KEY, census, SIGNALS)
    market = rng.choice(("auto", "auto", "spot", "on-demand"))
    if index % AGAIN < len(strikes):
        strike = strikes[index % AGAIN]
        return Schedule(KEY, seed, index, (strike,), point=str(strike), market=market)
    return Schedule(KEY, seed, index, (schedules.draw_strike(rng, census, SIGNALS),), market=market)


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    records = []
    for each in unit:
        played = play(stage, each)
        violations = judge(played)
        stage.settle()
        stage.account.advance(2)
        later = stage.look().since(played.before)
        if later.live or later.launching:
            violations.append(f"live after its client had gone: {later.everything}")
        if later.everything and _TOLD not in played.stderr and played.code != 5:
            violations.append(f"left, and not said: {later.everything}")
        records.append(played.record(violations, left=later.everything, said=_TOLD in played.stderr))
        if later.everything:
            stage.sweep()
        shutil.rmtree(played.home)
    return records


def judge(played: Played) -> list[str]:
    """What is wrong with how it ended, as far as that can be seen at its exit."""
    violations = []
    if played.hung:
        violations.append("the client hung")
    if played.at_exit.live or played.at_exit.launching:
        violations.append(f"live at exit: {played.at_exit.everything}")
    if "Traceback" in played.stderr and _existed(played):
        violations.append("a traceback")
    if not _ended_well(played):
        violations.append(f"exit code {played.code}")
    return violations


def _ended_well(played: Played) -> bool:
    if not played.reached:
        return played.code == 0
    first = signal.Signals[f"SIG{played.schedule.strikes[0].signals[0]}"]
    if played.code in {128 + first, 0}:
        return True
    # A signal may do what it does by itself before there is anything to end, and once all has been said.
    return played.code == -first and (not _existed(played) or _OVER.search(played.stderr) is not None)


def _existed(played: Played) -> bool:
    return any(hit["things"] > 0 for hit in played.reached)
