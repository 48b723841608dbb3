"""What only the journal knows: settled where it may be, told of where it may not, recorded once it has gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from clocks import ManualClock

from gputx.lease.custody import MARGIN_SECONDS, Patience
from gputx.lease.journal import Journal, State
from gputx.lease.unseen import Unseen, end_unseen, note_gone
from gputx.lease.verdict import Policy, Verdict
from gputx.models import Instance, Kind, Leftover, Market

TAG = "gputx:run"
ACCOUNT, REGION = "1", "eu-north-1"


@dataclass
class Account:
    """A Custody and a Sight. ``bare`` are things that have lost their tag."""

    there: list[Instance] = field(default_factory=list)
    bare: tuple[str, ...] = ()
    terminated: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    groups_free: bool = True

    def instances(self, run_id: str) -> list[Instance]:
        return [i for i in self.there if i.tags.get(TAG) == run_id]

    def terminate(self, instance_id: str) -> bool:
        self.terminated.append(instance_id)
        self.there = [replace(i, state="shutting-down") if i.id == instance_id else i for i in self.there]
        return any(i.id == instance_id for i in self.there)

    def ending_command(self, what: str | Leftover) -> str:
        return f"aws end {what if isinstance(what, str) else what.id}"

    def renew(self) -> None:
        raise AssertionError("nothing expired")

    def delete_key(self, run_id: str) -> None:
        self.keys.append(run_id)

    def release_group(self, instance: Instance) -> bool:
        return True

    def delete_groups(self, run_id: str) -> bool:
        return self.groups_free

    def delete_schedule(self, run_id: str) -> None:
        return None

    def labels_of(self, kind: Kind, id_: str) -> Mapping[str, str] | None:
        if id_ in self.bare:
            return {}
        return next((i.tags for i in self.there if i.id == id_ and i.live), None)


def instance(id_: str, token: str, run_id: str = "r1") -> Instance:
    return Instance(id_, "running", "g4dn.xlarge", "z", Market.SPOT, 0.0, token=token, tags={TAG: run_id})


@dataclass
class Bench:
    journal: Journal
    clock: ManualClock
    account: Account = field(default_factory=Account)
    policy: Policy = field(init=False)

    def __post_init__(self) -> None:
        self.policy = Policy(caller="me", journal_id=self.journal.id, held=self.journal.held, now=self.clock.now)

    def launch(self, token: str, id_: str | None = None, run_id: str = "r1", state: State = State.SENT) -> None:
        self.journal.intend(
            [(token, Kind.INSTANCE, id_)],
            account=ACCOUNT,
            region=REGION,
            run_id=run_id,
            deadline=self.clock.now + 3600,
            state=state,
        )

    def others(self, run_id: str) -> None:
        """What a run has beside its launches."""
        kinds = {Kind.KEY_PAIR: f"gputx-{run_id}", Kind.SECURITY_GROUP: None}
        self.journal.intend(
            [(f"{run_id}/{kind}", kind, name) for kind, name in kinds.items()],
            account=ACCOUNT,
            region=REGION,
            run_id=run_id,
            deadline=0.0,
            state=State.SENT,
        )

    def end(
        self, *verdicts: Verdict, dry_run: bool = False, only_launches: bool = False, **policy: object
    ) -> list[Unseen]:
        return end_unseen(
            self.journal,
            self.account,
            self.account,
            verdicts,
            account=ACCOUNT,
            region=REGION,
            tag=TAG,
            policy=replace(self.policy, **policy),  # type: ignore[arg-type]
            clock=self.clock,
            patience=Patience(end=20.0, lost=5.0, tidying=2.0),
            dry_run=dry_run,
            only_launches=only_launches,
        )

    @property
    def open(self) -> list[str]:
        return [entry.key for entry in self.journal.unfinished(ACCOUNT)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    clock = ManualClock()
    journal = Journal(tmp_path, clock)
    yield Bench(journal, clock)
    journal.close()


def test_a_launch_that_is_not_visible_is_fenced_and_stays_open(bench: Bench) -> None:
    bench.launch("t1")
    [told] = bench.end()
    assert bench.account.keys == ["r1"]
    assert bench.open == ["t1"]
    assert "1 launch of run r1 is not visible yet; it stays in the journal until" in told.what
    assert told.may_run


def test_it_is_closed_once_its_deadline_has_passed(bench: Bench) -> None:
    bench.launch("t1")
    bench.clock.now += 3600 + MARGIN_SECONDS + 1
    assert bench.end(now=bench.clock.now) == []
    assert bench.open == []


def test_a_launch_of_long_ago_is_not_waited_for(bench: Bench) -> None:
    bench.launch("t1")
    bench.clock.now += 1800
    bench.end(now=bench.clock.now)
    assert sum(bench.clock.slept) == 0


def test_one_that_has_landed_meanwhile_is_ended(bench: Bench) -> None:
    bench.launch("t1")
    bench.account.there = [instance("i-1", "t1")]
    [told] = bench.end()
    assert bench.account.terminated == ["i-1"]
    assert told.ended
    assert bench.open == []


def test_only_instances_are_told_of_as_instances(bench: Bench) -> None:
    """What else goes with the run has been told of by its tag."""
    bench.launch("t1")
    bench.others("r1")
    bench.account.there = [instance("i-1", "t1")]
    assert [item.id for item in bench.end()] == ["i-1"]
    assert bench.open == []


def test_launches_alone_are_settled_if_so_asked(bench: Bench) -> None:
    bench.launch("t1")
    bench.others("r2")
    bench.account.there = [instance("i-1", "t1")]
    assert [item.id for item in bench.end(only_launches=True)] == ["i-1"]
    assert bench.open == ["r2/key pair", "r2/security group"]


def test_a_rehearsal_ends_nothing_and_records_nothing(bench: Bench) -> None:
    bench.launch("t1")
    bench.launch("t2", "i-2", state=State.KNOWN)
    told = bench.end(dry_run=True)
    assert [item.id for item in told] == [None, "i-2"]
    assert (bench.account.keys, bench.account.terminated) == ([], [])
    assert bench.open == ["t1", "t2"]


def test_what_was_never_sent_is_nothing(bench: Bench) -> None:
    bench.launch("t1", state=State.INTENT)
    assert bench.end(dry_run=True) == []
    assert bench.end() == []
    assert bench.open == []


def test_what_has_lost_its_tag_is_told_of_and_not_touched(bench: Bench) -> None:
    bench.launch("t1", "i-1", state=State.KNOWN)
    bench.account.bare = ("i-1",)
    for dry_run in (True, False):
        [told] = bench.end(dry_run=dry_run)
        assert "its gputx tag was taken off" in told.what
        assert told.command == "aws end i-1"
        assert told.may_run
    assert (bench.account.keys, bench.account.terminated) == ([], [])
    assert bench.open == ["t1"]


def test_a_held_run_and_one_that_is_kept_are_left_alone(bench: Bench) -> None:
    bench.launch("t1", run_id="r1")
    bench.launch("t2", run_id="r2")
    hold = bench.journal.hold("r1")
    assert hold is not None
    kept = Verdict(Leftover(Kind.KEY_PAIR, "gputx-r2", REGION, "r2"), False, "an API server")
    with hold:
        assert bench.end(kept) == []
    assert bench.account.keys == []


def test_only_the_run_that_was_named(bench: Bench) -> None:
    for number in (1, 2):
        bench.launch(f"t{number}", run_id=f"r{number}")
    assert [item.run_id for item in bench.end(run_id="r2")] == ["r2"]
    assert bench.account.keys == ["r2"]


def test_only_what_is_old_enough(bench: Bench) -> None:
    bench.launch("t1")
    bench.clock.now += 60
    assert bench.end(now=bench.clock.now, older_than=61.0) == []
    assert bench.account.keys == []


def test_seen_ends_are_recorded_each_as_what_it_is(bench: Bench) -> None:
    bench.launch("t1", "i-1", state=State.KNOWN)
    bench.launch("t2", "i-2", state=State.KNOWN)
    bench.others("r1")
    ended = [(Kind.INSTANCE, "i-1"), (Kind.SECURITY_GROUP, "sg-1")]
    note_gone(bench.journal, ACCOUNT, REGION, [Leftover(kind, id_, REGION, "r1") for kind, id_ in ended])
    assert sorted(bench.open) == ["r1/key pair", "t2"]
