"""All campaigns by their key, how many trials each has to count, and what it is struck at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import baseline, builds, census, codes, faulty, interrupted, killed, late, locks, servers
from .schedules import Census, Schedule
from .stage import Stage


class Campaign(Protocol):
    """One question, asked many times. A module or an object; its functions keep nothing between calls."""

    KEY: str
    TITLE: str
    PROMISE: str
    UNIT: int
    """So many trials are played together."""

    def points(self, seed: int, census: Census) -> list[str]:
        """The points that have to be hit, in the order of their schedules' indexes."""

    def schedule(self, seed: int, index: int, census: Census) -> Schedule:
        """The trial of this index."""

    def perform(self, stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
        """Play trials; a record of each. What is wrong is in its ``violations``."""


@dataclass(frozen=True)
class Plan:
    """A campaign and how much of it.

    Attributes:
        trials: so many have to count.
        plain: its client is the baseline's.
        waits: its clients mostly wait, so that more of them may run side by side.
    """

    campaign: Campaign
    trials: int
    plain: bool = False
    waits: bool = False
    client: str = "gputx"
    """Whose calls it strikes: a census is taken of each."""


PLANS: dict[str, Plan] = {
    plan.campaign.KEY: plan
    for plan in (
        Plan(interrupted, 1000),
        Plan(killed, 1000),
        Plan(locks, 20 * len(locks.VARIANTS)),
        Plan(faulty, 1000, waits=True),
        Plan(late, 60, waits=True),
        Plan(codes, len(codes.cases()), waits=True),
        Plan(builds, 200, waits=True, client="build-ami"),
        Plan(servers, 150, waits=True, client="api"),
        Plan(baseline.INTERRUPTED, 240, plain=True, waits=True, client="plain"),
        Plan(baseline.KILLED, 100, plain=True, waits=True, client="plain"),
    )
}


def take_census(stage: Stage, client: str) -> Census:
    """The calls of the client that a campaign strikes."""
    if client == "plain":
        return census.take(stage, program=baseline.PROGRAM, arguments=baseline.arguments(stage))
    if client == "build-ami":
        return builds.take_census(stage)
    if client == "api":
        return servers.take_census(stage)
    return census.take(stage)
