"""What is done to one run: which signal at which of its calls, which faults meanwhile. Drawn from a seed.

A schedule is a pure function of (seed, campaign, index) and of the census, which lists the calls of an undisturbed
run. The first indexes go through every point once, in an order of the seed's; all further ones are drawn.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

PHASES = ("before", "after", "response")
_MAKERS = ("ImportKeyPair", "CreateSecurityGroup", "RunInstances")
AGAIN = 100_000
"""Index I + k · AGAIN is schedule I once more: a point that was not reached is tried again."""


@dataclass(frozen=True)
class Call:
    """The ``occurrence``-th call (from 0) of one action in a run."""

    service: str
    action: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.service}:{self.action}#{self.occurrence}"


@dataclass(frozen=True)
class Strike:
    """Signals for the client: at one of its calls, or ``seconds`` after its start in real time.

    Attributes:
        signals: names without SIG; the second and further ones follow after ``gap`` seconds each.
        at: before the call is carried out, after it was and before it is answered, or once the answer is out.
    """

    signals: tuple[str, ...]
    call: Call | None = None
    at: str = "before"
    seconds: float = 0.0
    gap: float = 0.2

    def __str__(self) -> str:
        where = f"{self.at} {self.call}" if self.call else f"{self.seconds:.2f} s after its start"
        return f"{'+'.join(self.signals)} {where}"

    def rule(self, pid: int) -> str:
        """The sandbox's rule for it. Only where it strikes at a call."""
        assert self.call is not None
        return (
            f"{self.call.service}:{self.call.action} signal={','.join(self.signals)} pid={pid} at={self.at} "
            f"gap={self.gap}s skip={self.call.occurrence} times=1"
        )


@dataclass(frozen=True)
class Schedule:
    """One trial, before it is run.

    Attributes:
        point: the name of the point that it is to hit; empty where it was drawn.
        faults: rules of the sandbox, in force during the run.
        variant: what else is done, in the words of its campaign.
        market: what the run is allowed to use.
    """

    campaign: str
    seed: int
    index: int
    strikes: tuple[Strike, ...] = ()
    point: str = ""
    faults: tuple[str, ...] = ()
    variant: str = ""
    market: str = "auto"

    @property
    def name(self) -> str:
        return f"{self.campaign}:{self.seed}:{self.index}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Schedule:
        strikes = tuple(
            Strike(**{**strike, "signals": tuple(strike["signals"]), "call": strike["call"] and Call(**strike["call"])})
            for strike in document["strikes"]
        )
        return cls(**{**document, "strikes": strikes, "faults": tuple(document["faults"])})


@dataclass(frozen=True)
class Census:
    """The calls of an undisturbed run.

    Attributes:
        calls: those that every run of the census made, in the order in which they first came.
        seconds: how long the run took, from its start to its exit, in real time.
    """

    calls: tuple[Call, ...]
    seconds: float
    extra: tuple[Call, ...] = field(default=())
    """Those that only some made: polls."""

    @property
    def making(self) -> tuple[Call, ...]:
        """The calls from the first on that makes something."""
        first = next(index for index, call in enumerate(self.calls) if call.action in _MAKERS)
        return self.calls[first:]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Census:
        calls, extra = (tuple(Call(**call) for call in document[name]) for name in ("calls", "extra"))
        return cls(calls, document["seconds"], extra)


def dice(seed: int, campaign: str, index: int) -> random.Random:
    """The source of all that is drawn for one schedule."""
    return random.Random(f"{seed}:{campaign}:{index % AGAIN}")


def points(seed: int, campaign: str, census: Census, signals: Sequence[tuple[str, ...]]) -> list[Strike]:
    """Every signal at every call, before, after and at its response: each once, in the seed's order."""
    strikes = [Strike(names, call, at) for names, call, at in itertools.product(signals, census.calls, PHASES)]
    random.Random(f"{seed}:{campaign}:points").shuffle(strikes)
    return strikes


def draw_strike(rng: random.Random, census: Census, signals: Sequence[tuple[str, ...]]) -> Strike:
    """A random call or, three times in ten, a random moment: from where the first thing is about to be made."""
    names = rng.choice(list(signals))
    gap = round(rng.uniform(0.05, 0.5), 3)
    if rng.random() < 0.3:
        return Strike(names, seconds=round(rng.uniform(0.4, 1.1) * census.seconds, 3), gap=gap)
    return Strike(names, rng.choice([*census.making, *census.extra]), rng.choice(PHASES), gap=gap)


def points_of(
    seed: int, campaign: str, census: Census, signals: Sequence[tuple[str, ...]], actions: Container[str]
) -> list[Strike]:
    """The points of the calls that matter to a campaign, each before, after and at its response."""
    calls = tuple(call for call in census.calls if call.action in actions)
    return points(seed, campaign, Census(calls, census.seconds), signals)


def point_or_moment(
    seed: int, campaign: str, index: int, census: Census, strikes: Sequence[Strike], *, moments: float
) -> Schedule:
    """A KILL at one of the points in turn; of further trials this share at any moment, the others at any call.

    Args:
        strikes: the points.
        moments: for a program that works for seconds without a call.
    """
    if index % AGAIN < len(strikes):
        strike = strikes[index % AGAIN]
        return Schedule(campaign, seed, index, (strike,), point=str(strike))
    rng = dice(seed, campaign, index)
    if rng.random() < moments:
        moment = round(rng.uniform(0.15, 1.0) * census.seconds, 3)
        return Schedule(campaign, seed, index, (Strike(("KILL",), seconds=moment),))
    return Schedule(campaign, seed, index, (draw_strike(rng, census, (("KILL",),)),))
