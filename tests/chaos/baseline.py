"""B1 and B2: a plain ``try`` and ``finally``, struck as gputx is in C1 and C2. It leaks, or we would be blind."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import interrupted, killed, schedules
from .schedules import AGAIN, Census, Schedule
from .stage import Stage
from .trial import play

PROGRAM = (str(Path(__file__).with_name("plain_client.py")),)


def arguments(stage: Stage) -> tuple[str, ...]:
    """What the plain client has to be told."""
    account = stage.account
    return account.endpoint_url, account.region, account.access_key, account.secret_key


class Baseline:
    """The plain client under one of gputx's campaigns."""

    UNIT = 1
    PROMISE = "leaks, or the harness could not see one"

    def __init__(self, key: str, title: str, signals: tuple[tuple[str, ...], ...]) -> None:
        self.KEY = key
        self.TITLE = title
        self._signals = signals

    def points(self, seed: int, census: Census) -> list[str]:
        return [str(strike) for strike in schedules.points(seed, self.KEY, census, self._signals)]

    def schedule(self, seed: int, index: int, census: Census) -> Schedule:
        strikes = schedules.points(seed, self.KEY, census, self._signals)
        if index % AGAIN < len(strikes):
            strike = strikes[index % AGAIN]
            return Schedule(self.KEY, seed, index, (strike,), point=str(strike))
        strike = schedules.draw_strike(schedules.dice(seed, self.KEY, index), census, self._signals)
        return Schedule(self.KEY, seed, index, (strike,))

    def perform(self, stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
        return [self._perform(stage, each) for each in unit]

    def _perform(self, stage: Stage, each: Schedule) -> dict[str, Any]:
        played = play(stage, each, program=PROGRAM, arguments=arguments(stage))
        stage.settle()
        stage.account.advance(2)
        leaked = stage.look().since(played.before).live
        record = played.record([], leaked=sorted(leaked))
        stage.sweep()
        shutil.rmtree(played.home)
        return record


INTERRUPTED = Baseline("B1", "a plain try/finally: " + interrupted.TITLE, interrupted.SIGNALS)
KILLED = Baseline("B2", "a plain try/finally: " + killed.TITLE, killed.SIGNALS)
