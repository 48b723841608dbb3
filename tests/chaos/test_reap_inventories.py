"""Any inventory at all: nothing foreign is ever named in a call that changes anything, and all that is due goes.

What is due is worked out here from the plan of each run, not from what the product thinks of its tags.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gputx.aws import tags
from gputx.aws.inventory import Inventory
from gputx.lease.reaper import reap
from gputx.lease.verdict import RUNNING, Policy, judge
from gputx.models import Kind

from .paper_account import SHUTTING_DOWN_SECONDS, PaperAccount, PaperClock, Thing

ME, EVA = "arn:aws:iam::123456789012:user/me", "arn:aws:iam::123456789012:user/eva"
OURS, OTHER = "0011223344556677", "8899aabbccddeeff"
GRACE = 600.0

KINDS = {
    Kind.INSTANCE: "instance",
    Kind.FLEET: "fleet",
    Kind.SPOT_REQUEST: "request",
    Kind.SCHEDULE: "schedule",
    Kind.KEY_PAIR: "key",
    Kind.SECURITY_GROUP: "group",
    Kind.NETWORK_INTERFACE: "interface",
    Kind.VOLUME: "volume",
    Kind.LAUNCH_TEMPLATE: "template",
    Kind.QUEUE: "queue",
    Kind.IMAGE: "image",
    Kind.SNAPSHOT: "snapshot",
}

# Far enough from every bound that the seconds a reap takes decide nothing. Of deadlines: -30 is past, but not by the
# margin; None is a tag that is missing, "soon" one that is no time.
AGES = [30, 290, 1500, 7200, 90_000]
DEADLINES = [-90_000, -3600, -600, -30, 600, 7000, None, "soon"]
LOOKALIKES: list[dict[str, str]] = [
    {},
    {"gputx-run": "20261120-141503-7f3a9c"},
    {"GPUTX:run": "20261120-141503-7f3a9c"},
    {"Gputx:Run": "20261120-141503-7f3a9c"},
    {"gputx:run": ""},
    {"gputx:runs": "20261120-141503-7f3a9c"},
    {"gputx": "run", "Name": "gputx-20261120-141503-7f3a9c"},
    {"gputx:deadline": "2020-01-01T00:00:00Z", "gputx:owner": ME},
    {"gputx:contract": "1"},
]


@dataclass(frozen=True)
class Run:
    """One run as it was left, or as it lives."""

    owner: str
    journal: str
    held: bool
    age: int
    deadline: int | str | None
    heartbeat: int | None
    is_api: bool
    kinds: frozenset[Kind]
    stays_behind: bool
    """Its disk and network interface were told to outlive the instance."""
    squatted: bool
    """Somebody's own instance was put into its group."""
    launched_after: int
    """Seconds from its start, which is what its tags say, to the launch of its instance."""
    finished_image: bool
    """Besides, it has made an image that was finished, whose snapshot still carries the run's tags."""

    def due(self) -> bool:
        """Whether it ends by default, by the rules as they are told to people."""
        if isinstance(self.deadline, int) and self.deadline < -120:
            return True
        serves = self.is_api and not self.kinds.isdisjoint(RUNNING)
        if (self.owner != ME and self.journal != OURS) or serves:
            return False
        if self.journal == OURS:
            return not self.held
        heard = self.heartbeat is not None and Kind.INSTANCE in self.kinds and self.heartbeat < GRACE
        return not heard and self.age >= GRACE


@dataclass(frozen=True)
class Foreign:
    """A thing that is not gputx's, whatever it looks like."""

    kind: Kind
    labels: int
    gputx_name: bool


@dataclass(frozen=True)
class World:
    """An account, and what is asked of it: ``asked`` is "", "all", or the number of a run to be named."""

    runs: tuple[Run, ...]
    foreign: tuple[Foreign, ...]
    ended: frozenset[str]
    asked: str | int
    older_than: int | None
    trouble: float
    seed: int


runs = st.builds(
    Run,
    owner=st.sampled_from([ME, ME, ME, EVA, ""]),
    journal=st.sampled_from([OURS, OURS, OTHER, ""]),
    held=st.booleans(),
    age=st.sampled_from(AGES),
    deadline=st.sampled_from(DEADLINES),
    heartbeat=st.sampled_from([None, 30, 290, 5000]),
    is_api=st.sampled_from([False, False, False, True]),
    kinds=st.frozensets(st.sampled_from(list(Kind)), min_size=1),
    stays_behind=st.booleans(),
    squatted=st.sampled_from([False, False, False, True]),
    launched_after=st.sampled_from([0, 8, 20]),
    finished_image=st.booleans(),
)
foreigners = st.builds(
    Foreign,
    kind=st.sampled_from(list(Kind)),
    labels=st.integers(0, len(LOOKALIKES) - 1),
    gputx_name=st.booleans(),
)
worlds = st.integers(0, 4).flatmap(
    lambda count: st.builds(
        World,
        runs=st.tuples(*[runs] * count),
        foreign=st.lists(foreigners, max_size=6).map(tuple),
        ended=st.frozensets(st.sampled_from(["instance", "request", "fleet"])),
        asked=st.sampled_from(["", "", "", "all", *range(count)]),
        older_than=st.sampled_from([None, None, None, 600, 1490, 7190]),
        trouble=st.sampled_from([0.0, 0.0, 0.3]),
        seed=st.integers(0, 2**16),
    )
)


@dataclass
class Stage:
    """A world put on paper."""

    world: World
    clock: PaperClock = field(default_factory=PaperClock)
    must_go: set[tuple[str, str]] = field(default_factory=set)
    may_go: set[tuple[str, str]] = field(default_factory=set)
    """What may be named, but can't go because something foreign holds it."""

    def __post_init__(self) -> None:
        random_ = random.Random(self.world.seed)
        self.account = PaperAccount(self.clock, random_, self.world.trouble)
        for number, run in enumerate(self.world.runs):
            self._put(number, run)
        for number, thing in enumerate(self.world.foreign):
            self._put_foreign(number, thing)
        for kind in self.world.ended:
            # Ended things of a run that is due: they are shown for a while, and nobody may touch them again.
            labels = {tags.RUN: "20261119-000000-eeeeee", tags.OWNER: ME, tags.DEADLINE: "2020-01-01T00:00:00Z"}
            state = {"instance": "terminated", "request": "closed", "fleet": "deleted_terminating"}[kind]
            self.account.put(kind, Thing(f"{kind}-ended", labels, self.clock.now - 5000, state))

    def run_id(self, number: int) -> str:
        return f"20261120-14150{number}-7f3a9c"

    def held(self, run_id: str) -> bool:
        numbers = {self.run_id(number): number for number in range(len(self.world.runs))}
        return self.world.runs[numbers[run_id]].held

    def policy(self) -> Policy:
        asked = self.world.asked
        return Policy(
            caller=ME,
            journal_id=OURS,
            held=self.held,
            now=self.clock.time(),
            grace=GRACE,
            run_id=self.run_id(asked) if isinstance(asked, int) else None,
            everything=asked == "all",
            older_than=self.world.older_than,
        )

    def ends(self, number: int) -> bool:
        asked, run = self.world.asked, self.world.runs[number]
        youngest = run.age - (run.launched_after if Kind.INSTANCE in run.kinds else 0)
        if self.world.older_than is not None and youngest < self.world.older_than:
            return False
        if isinstance(asked, int):
            return asked == number
        return asked == "all" or run.due()

    def _labels(self, number: int, run: Run) -> dict[str, str]:
        now = self.clock.now
        labels = {
            tags.RUN: self.run_id(number),
            tags.OWNER: run.owner,
            tags.STARTED: tags.stamp_of(now - run.age),
            tags.JOURNAL: run.journal,
            tags.PURPOSE: "api" if run.is_api else "fast-transcription",
        }
        if run.deadline is not None:
            labels[tags.DEADLINE] = tags.stamp_of(now + run.deadline) if isinstance(run.deadline, int) else run.deadline
        return labels

    def _put(self, number: int, run: Run) -> None:
        labels, made = self._labels(number, run), self.clock.now - run.age
        has_instance = Kind.INSTANCE in run.kinds
        group = f"group-{number}"
        for kind in run.kinds:
            thing = Thing(_name(KINDS[kind], number), dict(labels), made, _STATES.get(kind, ""))
            if kind is Kind.INSTANCE:
                thing.groups, thing.created = [group], made + run.launched_after
                if run.heartbeat is not None:
                    thing.tags[tags.HEARTBEAT] = tags.stamp_of(self.clock.now - run.heartbeat)
            elif kind is Kind.FLEET and has_instance:
                thing.made_of = [_name("instance", number)]
            elif kind in {Kind.VOLUME, Kind.NETWORK_INTERFACE} and has_instance:
                thing.attached_to, thing.goes_along, thing.state = (
                    _name("instance", number),
                    not run.stays_behind,
                    "in-use",
                )
            elif kind is Kind.SCHEDULE:
                thing.groups = ["gputx"]
                said = {key: value for key, value in labels.items() if key.startswith("gputx:") or key == tags.PURPOSE}
                thing.state = json.dumps(said)
                thing.tags = {}
            elif kind is Kind.IMAGE and Kind.SNAPSHOT in run.kinds:
                thing.made_of = [_name("snapshot", number)]
            self.account.put(KINDS[kind], thing)
            self._expect(number, run, kind, thing)
        if run.squatted:
            self.account.put("instance", Thing(f"instance-squatter-{number}", {}, made, "running", [group]))
        if run.finished_image:
            snapshot = self.account.put("snapshot", Thing(f"snapshot-kept-{number}", dict(labels), made))
            kept = {tags.RUN: labels[tags.RUN], "gputx:contract": "1"}
            self.account.put("image", Thing(f"image-kept-{number}", kept, made, made_of=[snapshot.id]))

    def _expect(self, number: int, run: Run, kind: Kind, thing: Thing) -> None:
        unfinished = kind not in {Kind.IMAGE, Kind.SNAPSHOT} or tags.DEADLINE in thing.tags
        if not self.ends(number) or not unfinished:
            return
        if kind is Kind.SNAPSHOT and Kind.IMAGE in run.kinds and tags.DEADLINE not in thing.tags:
            return
        named = (KINDS[kind], thing.id)
        (self.may_go if kind is Kind.SECURITY_GROUP and run.squatted else self.must_go).add(named)

    def _put_foreign(self, number: int, foreign: Foreign) -> None:
        kind = KINDS[foreign.kind]
        name = f"{'gputx-' if foreign.gputx_name else ''}foreign-{number}"
        id_ = f"https://sqs.example/1/{name}" if kind == "queue" else f"{kind}-{name}"
        thing = Thing(id_, dict(LOOKALIKES[foreign.labels]), self.clock.now - 90_000, _STATES.get(foreign.kind, ""))
        if foreign.kind is Kind.SCHEDULE:
            # In our group or not: a schedule whose description names no run is nobody's leftover.
            thing.groups = ["gputx" if foreign.gputx_name else "default"]
            thing.state = json.dumps(thing.tags) if thing.tags else "turns on the lights"
        self.account.put(kind, thing)

    def gone(self, kind: str, id_: str) -> bool:
        self.account.picture()
        thing = self.account.things[kind].get(id_)
        return thing is None or thing.state in {"shutting-down", "terminated", "cancelled", "deleted_terminating"}


_STATES = {
    Kind.INSTANCE: "running",
    Kind.FLEET: "active",
    Kind.SPOT_REQUEST: "active",
    Kind.NETWORK_INTERFACE: "available",
    Kind.VOLUME: "available",
    Kind.IMAGE: "available",
}


def _name(kind: str, number: int) -> str:
    return f"https://sqs.example/1/gputx-{number}" if kind == "queue" else f"{kind}-{number}"


def _check(world: World) -> None:
    stage = Stage(world)
    before = stage.account.picture()
    allowed = stage.must_go | stage.may_go
    inventory, policy = Inventory(stage.account), stage.policy()  # type: ignore[arg-type]

    reaped = reap(inventory, judge(inventory.leftovers(), policy), clock=stage.clock)

    stage.clock.sleep(SHUTTING_DOWN_SECONDS)  # what goes with an instance is gone once that is terminated

    kind_of = {id_: kind for kind, id_ in before}
    # A fleet replaces what is ended before it: such an instance is the run's, too.
    touched = {(kind_of.get(id_.rstrip("+"), "?"), id_.rstrip("+")) for _, id_ in stage.account.changes}
    assert touched <= allowed, f"touched: {touched - allowed}"
    after = stage.account.picture()
    for named, thing in before.items():
        if named not in allowed and not _went_along(thing, stage):
            assert after.get(named) == thing, f"changed: {named}"
    assert all(stage.gone(*named) for named in stage.must_go), reaped.left
    assert {item.leftover.id for item in reaped.left} == {
        id_ for kind, id_ in stage.may_go if not stage.gone(kind, id_)
    }
    assert not [t for t in stage.account.things["instance"].values() if t.id.endswith("+")], "a fleet relaunched"

    done = len(stage.account.changes)
    again = reap(inventory, judge(inventory.leftovers(), policy), clock=stage.clock)
    assert again.ended == ()
    assert {id_ for _, id_ in stage.account.changes[done:]} <= {id_ for _, id_ in stage.may_go}


def _went_along(thing: Thing, stage: Stage) -> bool:
    """Whether it was attached to an instance that was rightly ended."""
    return thing.attached_to is not None and ("instance", thing.attached_to) in stage.must_go


_SETTINGS = settings(
    # A world is small enough to be read as it is, and making it smaller takes minutes.
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(_SETTINGS, max_examples=200)
@given(worlds)
def test_nothing_foreign_is_touched_and_all_that_is_due_goes(world: World) -> None:
    _check(world)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(_SETTINGS, max_examples=10_000)
@given(worlds)
def test_nothing_foreign_is_touched_in_ten_thousand_inventories(world: World) -> None:
    _check(world)


LEFT = Run(
    owner=ME,
    journal=OURS,
    held=False,
    age=1500,
    deadline=7000,
    heartbeat=None,
    is_api=False,
    kinds=frozenset({Kind.INSTANCE, Kind.SCHEDULE, Kind.KEY_PAIR, Kind.SECURITY_GROUP}),
    stays_behind=False,
    squatted=False,
    launched_after=8,
    finished_image=False,
)


@pytest.mark.parametrize("asked", ["", "all", 0])
def test_the_schedule_of_an_instance_that_could_not_be_looked_for_stays(asked: str | int) -> None:
    stage = Stage(World((LEFT,), (), frozenset(), asked, None, 0.0, 0))
    stage.account.refuses = {"DescribeInstances"}
    inventory = Inventory(stage.account)  # type: ignore[arg-type]
    blind: list[Kind] = []
    found = inventory.leftovers(failed=lambda kind, _: blind.append(kind))
    assert blind == [Kind.INSTANCE]

    reaped = reap(inventory, judge(found, replace(stage.policy(), deaf=True)), clock=stage.clock, deaf=True)

    assert not stage.gone("instance", "instance-0")
    assert not stage.gone("schedule", "schedule-0")
    assert "could not be looked for" in next(item.why for item in reaped.left if item.leftover.kind is Kind.SCHEDULE)


def test_an_owner_is_known_whenever_a_session_was_named() -> None:
    """By the tag alone, as from another machine, and as a gputx has written it that took the ARN as it came."""
    role = "arn:aws:sts::123456789012:assumed-role/dev"
    run = replace(LEFT, owner=f"{role}/botocore-session-1789998500", journal=OTHER)
    stage = Stage(World((run,), (), frozenset(), "", None, 0.0, 0))
    inventory = Inventory(stage.account)  # type: ignore[arg-type]
    verdicts = judge(inventory.leftovers(), replace(stage.policy(), caller=role))
    assert {verdict.why for verdict in verdicts} == {"yours, and nobody holds it"}
    assert len(verdicts) == len(LEFT.kinds)
