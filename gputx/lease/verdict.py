"""What may be ended of what carries our tag: a verdict on each thing, and why, in words for a person.

It asks nobody but the run's own lock. What is past its own deadline belongs to no living run, whoever's it is; what
is the caller's, by name or by the journal here, ends unless somebody still works on it; all else is only ended when
it is asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby

from gputx.lease.custody import MARGIN_SECONDS
from gputx.models import Kind, Leftover
from gputx.units import duration

RUNNING = (Kind.FLEET, Kind.SPOT_REQUEST, Kind.INSTANCE)
"""What costs money by the hour or may start to, in the order of its end: a fleet would replace its instances."""

_PARTS = r"-\d|-image"
"""What a run's own name may be followed by, where it makes things that end at different times."""

_SERVING = frozenset({Kind.SCHEDULE, Kind.KEY_PAIR, Kind.SECURITY_GROUP})

API = "api"
"""The purpose of a server that is meant to outlive its command."""

KEPT = "kept"
"""The purpose of a builder that failed and is to be looked at, until its deadline."""

GRACE_SECONDS = 600.0
"""A run of another machine is taken for alive so long after its last sign of life."""


@dataclass(frozen=True)
class Policy:
    """Who asks, and for what.

    Attributes:
        caller: ARN of whoever asks.
        journal_id: of the journal here; empty where it can't be read.
        held: whether a living process holds this run's lock. Asked only about runs of this journal.
        now: seconds since the epoch.
        grace: seconds.
        older_than: seconds; younger runs are kept, whatever else would end them.
        run_id: end exactly this run, whoever's it is.
        everything: end whatever is a gputx run's.
        only_overdue: end only what is past its own deadline.
        deaf: instances could not be looked at, and signs of life with them: a run elsewhere is taken for alive.
    """

    caller: str
    journal_id: str
    held: Callable[[str], bool]
    now: float
    grace: float = GRACE_SECONDS
    older_than: float | None = None
    run_id: str | None = None
    everything: bool = False
    only_overdue: bool = False
    deaf: bool = False

    def names(self, run_id: str) -> bool:
        """Whether the run, a further life of it, or what it builds was asked for by name."""
        return self.run_id is not None and re.fullmatch(rf"{re.escape(self.run_id)}({_PARTS})?", run_id) is not None


@dataclass(frozen=True)
class Verdict:
    """Whether a thing ends, and why, in words for a person."""

    leftover: Leftover
    ends: bool
    why: str


def judge(leftovers: Iterable[Leftover], policy: Policy) -> list[Verdict]:
    """A verdict on each, in the order given.

    A run is alive or not, and old enough or not, as a whole; a deadline is each thing's own.
    """
    things = list(leftovers)
    runs = {
        run_id: _Run(list(members), policy)
        for run_id, members in groupby(sorted(things, key=_run_id), key=_run_id)
        if run_id
    }
    return spare_what_serves([_verdict(thing, runs.get(thing.run_id), policy) for thing in things])


def spare_what_serves(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Keep the schedule, key pair and security group of what is kept: the schedule is what will end it."""
    kept = {verdict.leftover.run_id: verdict.leftover for verdict in verdicts if _keeps(verdict)}
    return [
        replace(verdict, ends=False, why=f"{kept[run].kind} {kept[run].id} is kept, and needs it")
        if verdict.ends and verdict.leftover.kind in _SERVING and (run := verdict.leftover.run_id) in kept
        else verdict
        for verdict in verdicts
    ]


def _keeps(verdict: Verdict) -> bool:
    return not verdict.ends and verdict.leftover.kind in RUNNING and bool(verdict.leftover.run_id)


class _Run:
    """What the things of one run say together."""

    def __init__(self, things: Sequence[Leftover], policy: Policy) -> None:
        owners = {thing.owner for thing in things if thing.owner}
        self.owner = owners.pop() if len(owners) == 1 else ""
        # What is left of a server that has ended is no server.
        self.is_api = any(thing.purpose == API and thing.kind in RUNNING for thing in things)
        self.kept_until = max((thing.deadline or 0.0 for thing in things if thing.purpose == KEPT), default=0.0)
        """Seconds since the epoch; 0 where nothing is to be kept."""
        made = [thing.created_at for thing in things if thing.created_at is not None]
        self.age = max(0.0, policy.now - max(made)) if made else None
        """Seconds since the youngest of it was made; None where nobody says."""
        self._things = things
        self._policy = policy

    def sign_of_life(self) -> str | None:
        """What says that a gputx works on it, or None."""
        policy = self._policy
        journals = {thing.journal for thing in self._things}
        if policy.journal_id and policy.journal_id in journals:
            if policy.held(self._things[0].run_id):
                return "held by a gputx that runs here"
            if journals <= {policy.journal_id, ""}:
                return None
        if policy.deaf:
            return "perhaps in use elsewhere, which can't be seen"
        for what, times in (
            ("heard of", [thing.heartbeat for thing in self._things]),
            ("made", [thing.created_at for thing in self._things]),
        ):
            last = max((when for when in times if when is not None), default=None)
            if last is not None and policy.now - last < policy.grace:
                return f"perhaps in use elsewhere, {what} {duration(max(0.0, policy.now - last))} ago"
        return None


def _verdict(thing: Leftover, run: _Run | None, policy: Policy) -> Verdict:
    if run is None:
        return Verdict(thing, False, "no run's name is on it, so gputx leaves it alone")
    ends, why = _rule(thing, run, policy)
    if ends and policy.older_than is not None and not _old(thing, run, policy):
        age = "unknown" if run.age is None else duration(run.age)
        return Verdict(thing, False, f"too young for --older-than (its run's age: {age})")
    return Verdict(thing, ends, why)


def _rule(thing: Leftover, run: _Run, policy: Policy) -> tuple[bool, str]:
    if policy.run_id is not None:
        named = policy.names(thing.run_id)
        return named, "named with --run" if named else f"not of run {policy.run_id}"
    if _overdue(thing, policy):
        return True, f"past its deadline since {_clock(thing.deadline or 0.0, policy.now)}"
    if policy.only_overdue:
        return False, "not past its deadline"
    why = _protection(thing, run, policy)
    if policy.everything:
        return True, f"--all, though {why}" if why else "--all"
    return (False, f"{why}: name it with --run, or --all") if why else (True, "yours, and nobody holds it")


def _protection(thing: Leftover, run: _Run, policy: Policy) -> str | None:
    owner = thing.owner or run.owner
    recorded_here = bool(policy.journal_id) and thing.journal == policy.journal_id
    if owner != policy.caller and not recorded_here:
        return f"a colleague's ({owner})" if owner else "nobody's name is on it"
    if run.is_api:
        return "an API server that is to run"
    if run.kept_until > policy.now:
        return f"a builder kept until {_clock(run.kept_until, policy.now)}"
    return run.sign_of_life()


def _overdue(thing: Leftover, policy: Policy) -> bool:
    return thing.deadline is not None and policy.now > thing.deadline + MARGIN_SECONDS


def _old(thing: Leftover, run: _Run, policy: Policy) -> bool:
    if run.age is None:
        return _overdue(thing, policy)
    return run.age >= (policy.older_than or 0.0)


def _run_id(thing: Leftover) -> str:
    return thing.run_id


def _clock(when: float, now: float) -> str:
    """A time here; with its day where that is not today."""
    there, here = (datetime.fromtimestamp(seconds, UTC).astimezone() for seconds in (when, now))
    return f"{there:%H:%M}" if there.date() == here.date() else f"{there:%Y-%m-%d %H:%M}"
