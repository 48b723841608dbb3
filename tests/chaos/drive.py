"""Running campaigns: units of trials go to the workers until enough have counted and every point was hit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import worker
from .campaigns import PLANS, Campaign
from .log import Log, Notes
from .schedules import AGAIN, Census

_TRIES_A_POINT = 6
_MOST_TRIALS = 4
"""Times the trials that are to count; more means that something is wrong with the schedules."""

_TELL_EVERY_SECONDS = 10.0
_WAITERS_A_CORE = 2
"""Trials that mostly wait may be twice as many as the cores."""


class InterruptedCampaignError(Exception):
    """Somebody pressed Ctrl-C; what was under way has ended and is on record."""


@dataclass
class Goal:
    """What is still to be done of one campaign."""

    campaign: Campaign
    seed: int
    census: Census
    trials: int
    log: Log
    sample: int | None = None
    """Only so many trials, half of them points; then it is never a whole campaign."""

    def __post_init__(self) -> None:
        self.points = self.campaign.points(self.seed, self.census)
        self._index_of: dict[str, int] = {}
        self._drawn = 0
        self._given = set(self.log.records)
        self._tries = Counter(index % AGAIN for index in self._given)
        index = 0
        while len(self._index_of) < len(self.points):
            self._index_of.setdefault(self.campaign.schedule(self.seed, index, self.census).point, index)
            index += 1

    @property
    def missed(self) -> list[str]:
        """Points that were not hit yet."""
        return [point for point in self.points if point not in self.log.hit]

    @property
    def hopeless(self) -> list[str]:
        """Points that were tried so often in vain that they are given up."""
        return [point for point in self.missed if self._tries[self._index_of[point]] >= _TRIES_A_POINT]

    @property
    def done(self) -> bool:
        if self.sample is not None:
            return len(self.log.records) >= self.sample
        return self.log.counted >= self.trials and len(self.missed) == len(self.hopeless)

    def more(self) -> Iterator[int]:
        """Indexes to be played next: every point first, then those that were missed, then whatever is drawn."""
        untried = [self._index_of[point] for point in self.points if self._index_of[point] not in self._given]
        for index in untried[: None if self.sample is None else self.sample // 2]:
            yield self._give(index)
        if self.sample is not None:
            self._drawn = len(self.points)
            for _ in range(self.sample - len(self._given)):
                yield self._give_drawn()
            return
        while len(self._given) < _MOST_TRIALS * self.trials + len(self.points):
            hit = self.log.hit
            for point in self.points:
                first = self._index_of[point]
                if point not in hit and self._tries[first] < _TRIES_A_POINT and self._answered(first):
                    yield self._give(first + self._tries[first] * AGAIN)
            if self.done:
                return
            yield self._give_drawn()

    def _give_drawn(self) -> int:
        while self._drawn in self._given:
            self._drawn += 1
        return self._give(self._drawn)

    def _give(self, index: int) -> int:
        self._given.add(index)
        self._tries[index % AGAIN] += 1
        return index

    def _answered(self, first: int) -> bool:
        """Whether all tries of the point of this index are on record."""
        return all(first + again * AGAIN in self.log.records for again in range(self._tries[first]))


@contextmanager
def crew(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes with stages of their own; nothing of them is left afterwards."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gputx-chaos-", ignore_cleanup_errors=True))
        yield stack.enter_context(
            ProcessPoolExecutor(
                workers * _WAITERS_A_CORE,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=worker.begin,
                initargs=(Path(directory),),
            )
        )


def run(pool: ProcessPoolExecutor, goal: Goal, notes: Notes, *, workers: int) -> None:
    """Play trials until the goal is reached. What is wrong is told at once, on stderr.

    Raises:
        InterruptedCampaignError: somebody pressed Ctrl-C.
    """
    key = goal.campaign.KEY
    side_by_side = workers * (_WAITERS_A_CORE if PLANS[key].waits else 1)
    before = notes.campaign(key).get("wall", 0.0) if goal.log.records else 0.0
    began = time.monotonic()
    with _interruptible() as stopped:
        under_way: set[Future[list[dict[str, Any]]]] = set()
        indexes = goal.more()
        told = 0.0
        while True:
            while len(under_way) < side_by_side and not stopped and not goal.done:
                unit = _next_unit(goal, indexes)
                if not unit:
                    break
                under_way.add(pool.submit(worker.perform, unit))
            if not under_way:
                break
            ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for record in [record for future in ended for record in future.result()]:
                goal.log.add(record)
                _tell_violations(record)
            wall = before + time.monotonic() - began
            notes.keep_campaign(
                key, wall=round(wall, 1), workers=workers, cores=os.cpu_count(), date=time.strftime("%Y-%m-%d")
            )
            if time.monotonic() - told > _TELL_EVERY_SECONDS:
                told = time.monotonic()
                _tell(goal, wall)
        _tell(goal, before + time.monotonic() - began)
        if stopped:
            raise InterruptedCampaignError(key)


def census_of(pool: ProcessPoolExecutor, notes: Notes, client: str, *, fresh: bool) -> Census:
    """The kept one, unless it is to be ``fresh``; else one that is taken now, and kept."""
    if not fresh and (kept := notes.census(client)):
        return kept
    taken = Census.from_dict(pool.submit(worker.count, client).result())
    notes.keep_census(client, taken)
    return taken


def goal_of(
    key: str, seed: int, census: Census, log: Log, *, trials: int | None = None, sample: int | None = None
) -> Goal:
    """``trials``: so many have to count, instead of the campaign's own number."""
    plan = PLANS[key]
    return Goal(plan.campaign, seed, census, plan.trials if trials is None else trials, log, sample)


def _next_unit(goal: Goal, indexes: Iterator[int]) -> list[dict[str, Any]]:
    unit: list[dict[str, Any]] = []
    for index in indexes:
        unit.append(goal.campaign.schedule(goal.seed, index, goal.census).as_dict())
        if len(unit) == goal.campaign.UNIT:
            break
    return unit


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """A list that is no longer empty once somebody has pressed Ctrl-C."""
    stopped: list[int] = []

    def note(number: int, _frame: Any) -> None:
        stopped.append(number)
        print("stopping after the trials under way; --resume goes on from there", file=sys.stderr, flush=True)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _tell(goal: Goal, wall: float) -> None:
    log = goal.log
    points = f", {len(goal.points) - len(goal.missed)} of {len(goal.points)} points" if goal.points else ""
    print(
        f"{goal.campaign.KEY}: {log.counted} of {goal.trials} counted in {len(log.records)} trials{points}, "
        f"{len(log.violations)} violations, {wall:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def _tell_violations(record: dict[str, Any]) -> None:
    for violation in record["violations"]:
        print(f"VIOLATION {violation}\n  {record['replay']}", file=sys.stderr, flush=True)
