"""The guard, with a real journal, against an account that fails in every way it can."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from clocks import ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from gputx.errors import ConfigurationError, GputxError, StillRunningError
from gputx.lease.guard import Guard
from gputx.lease.journal import Journal, State
from gputx.lease.record import RunRecord
from gputx.lease.settle import Settled, settle
from gputx.models import Attempt, Instance, Kind, Market, Pool

POOL = Pool("eu-north-1a", "g4dn.xlarge", Market.SPOT)


def instance(id_: str = "i-1", state: str = "running", token: str | None = "t1") -> Instance:
    return Instance(id_, state, "g4dn.xlarge", "eu-north-1a", Market.SPOT, 0.0, vpc_id="vpc-1", token=token)


@dataclass
class Account:
    """A Custody that keeps a table and a list of the calls; ``trouble`` may raise before any of them."""

    table: dict[str, Instance] = field(default_factory=dict)
    visible: Callable[[], bool] = lambda: True
    calls: list[str] = field(default_factory=list)
    trouble: Callable[[str], None] = lambda _: None
    untagged: set[str] = field(default_factory=set)

    def instances(self, run_id: str) -> Sequence[Instance]:
        self._called("instances")
        return list(self.table.values()) if self.visible() else []

    def terminate(self, instance_id: str) -> bool:
        self._called(f"terminate {instance_id}")
        if instance_id not in self.table or not self.visible():
            return False
        self.table[instance_id] = replace(self.table[instance_id], state="shutting-down")
        return True

    def disowned(self, instance_id: str) -> bool:
        return instance_id in self.untagged

    def ending_command(self, instance_id: str) -> str:
        return f"aws ec2 terminate-instances --region eu-north-1 --instance-ids {instance_id}"

    def delete_key(self, run_id: str) -> None:
        self._called("delete_key")

    def release_group(self, instance: Instance) -> bool:
        self._called(f"release {instance.id}")
        return True

    def delete_groups(self, run_id: str) -> bool:
        self._called("delete_groups")
        return True

    def delete_schedule(self, run_id: str) -> None:
        self._called("delete_schedule")

    def renew(self) -> None:
        self._called("renew")

    def _called(self, what: str) -> None:
        self.calls.append(what)
        self.trouble(what)

    @property
    def live(self) -> list[str]:
        return [i.id for i in self.table.values() if i.live]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def journal(tmp_path: Path, clock: ManualClock) -> Iterator[Journal]:
    journal = Journal(tmp_path, clock)
    yield journal
    journal.close()


def unarmed(
    account: Account, journal: Journal, clock: ManualClock, say: Callable[[str], None] = lambda _: None
) -> Guard:
    record = RunRecord(journal, account="1", region="eu-north-1", run_id="r1", deadline=clock.now + 7200)
    return Guard(record=record, custody=account, clock=clock, say=say)


def guard_of(account: Account, journal: Journal, clock: ManualClock) -> Guard:
    guard = unarmed(account, journal, clock)
    guard.arm()
    return guard


def send(guard: Guard, token: str = "t1") -> None:
    guard.launching(token)
    guard.sending(token)


def lose_answer(guard: Guard, token: str = "t1") -> None:
    send(guard, token)
    guard.answered(Attempt(POOL, "ReadTimeoutError", "", "no answer", 0, 0, answered=False), token)


def later(account: Account, journal: Journal, clock: ManualClock) -> Settled:
    """What another process does that comes upon the journal."""
    return settle(journal, account, account="1", region="eu-north-1", clock=clock)


def test_what_was_never_armed_asks_nothing(journal: Journal, clock: ManualClock) -> None:
    account = Account()
    unarmed(account, journal, clock).end()
    assert account.calls == []


def made(guard: Guard) -> None:
    """A run that got as far as an instance."""
    guard.making(Kind.KEY_PAIR, "gputx-r1")
    guard.making(Kind.SECURITY_GROUP, "gputx-r1")
    guard.made(Kind.SECURITY_GROUP, "sg-1")
    send(guard)
    guard.answered(Attempt(POOL, None, "", "launched", 0, 0), "t1")
    guard.launched(instance())


def test_the_key_goes_first_and_the_group_last(journal: Journal, clock: ManualClock) -> None:
    account = Account({"i-1": instance()})
    guard = guard_of(account, journal, clock)
    made(guard)
    guard.end()

    assert account.calls == ["delete_key", "release i-1", "terminate i-1", "instances", "delete_key", "delete_groups"]
    assert guard.ended == ("i-1",)
    assert journal.unfinished("1") == []
    assert not journal.held("r1")
    guard.end()
    assert len(account.calls) == 6, "ending twice asks nothing more"


def test_an_instance_nobody_remembers_is_found_by_its_tag(journal: Journal, clock: ManualClock) -> None:
    account = Account({"i-9": instance("i-9", token=None)})
    guard = guard_of(account, journal, clock)
    lose_answer(guard)
    with pytest.raises(StillRunningError):  # for the launch that was sent is still without an answer
        guard.end()
    assert account.live == []


def test_where_no_launch_was_sent_no_instance_is_looked_for(journal: Journal, clock: ManualClock) -> None:
    account = Account()
    guard = guard_of(account, journal, clock)
    guard.making(Kind.KEY_PAIR, "gputx-r1")
    guard.launching("t1")
    guard.end()
    assert account.calls == ["delete_key"]
    assert [entry.state for entry in journal.unfinished("1")] == [State.INTENT]
    later(account, journal, clock)
    assert journal.unfinished("1") == []


def test_a_launch_without_an_answer_is_waited_for(journal: Journal, clock: ManualClock) -> None:
    appears = clock.now + 9
    account = Account({"i-1": instance()}, visible=lambda: clock.now >= appears)
    guard = guard_of(account, journal, clock)
    lose_answer(guard)
    guard.end()
    assert account.live == []


def test_a_launch_that_was_refused_is_not_waited_for(journal: Journal, clock: ManualClock) -> None:
    guard = guard_of(Account(), journal, clock)
    send(guard)
    guard.answered(Attempt(POOL, "InsufficientInstanceCapacity", "", "no capacity", 0, 0), "t1")
    guard.end()
    assert clock.slept == []


def test_a_launch_that_is_never_seen_is_owned_up_to(journal: Journal, clock: ManualClock) -> None:
    """It was accepted, perhaps, and EC2 can take longer to show it than anyone waits: that is no "nothing runs"."""
    guard = guard_of(Account(), journal, clock)
    lose_answer(guard)
    with pytest.raises(StillRunningError, match="got no answer"):
        guard.end()


def test_a_key_that_can_not_be_deleted_costs_the_instance_no_second(journal: Journal, clock: ManualClock) -> None:
    began = clock.now
    asked: list[float] = []

    def trouble(call: str) -> None:
        if call == "delete_key":
            raise GputxError("UnauthorizedOperation")
        if call.startswith("terminate"):
            asked.append(clock.now - began)

    guard = guard_of(Account({"i-1": instance()}, trouble=trouble), journal, clock)
    made(guard)
    guard.end()
    assert asked == [0.0]
    assert guard.ended == ("i-1",)
    assert guard.left == ("key pair",)


def test_trouble_is_insisted_through(journal: Journal, clock: ManualClock) -> None:
    left = {"delete_key": 2, "instances": 3, "release i-1": 1, "terminate i-1": 4, "delete_groups": 1}

    def trouble(call: str) -> None:
        if left.get(call, 0):
            left[call] -= 1
            raise GputxError("RequestLimitExceeded")

    account = Account({"i-1": instance()}, trouble=trouble)
    guard = guard_of(account, journal, clock)
    made(guard)
    guard.end()
    assert account.live == []
    assert guard.left == ()


def test_an_end_that_is_not_seen_is_owned_up_to(journal: Journal, clock: ManualClock) -> None:
    def refuse(call: str) -> None:
        if call.startswith("terminate"):
            raise GputxError("UnauthorizedOperation")

    began = clock.now
    guard = guard_of(Account({"i-1": instance()}, trouble=refuse), journal, clock)
    made(guard)
    with pytest.raises(StillRunningError) as caught:
        guard.end()
    assert caught.value.exit_code == 5
    assert "i-1" in caught.value.message
    assert "aws ec2 terminate-instances --region eu-north-1 --instance-ids i-1" in (caught.value.hint or "")
    assert 60 <= clock.now - began <= 300


def test_not_found_is_never_taken_for_ended(journal: Journal, clock: ManualClock) -> None:
    guard = guard_of(Account(), journal, clock)
    guard.launched(instance())
    with pytest.raises(StillRunningError):
        guard.end()


@settings(deadline=None)  # the journal waits for the disk
@given(st.data())
def test_whatever_fails_how_often_the_end_is_true(data: st.DataObject) -> None:
    """Either everything has ended, or the person is told that it could not be confirmed and the journal keeps it.

    Never a silent leak; and once the trouble is over, the next command ends what was left.
    """
    clock = ManualClock()
    failing = data.draw(st.floats(0, 1))
    random = data.draw(st.randoms(use_true_random=False))
    lag = data.draw(st.integers(0, 15))
    began = clock.now

    def trouble(_call: str) -> None:
        if random.random() < failing:
            raise GputxError("trouble")

    ids = data.draw(st.lists(st.sampled_from(["i-1", "i-2", "i-3"]), unique=True))
    account = Account({id_: instance(id_, token=id_) for id_ in ids}, visible=lambda: clock.now >= began + lag)
    account.trouble = trouble
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(Path(directory), clock)
        guard = guard_of(account, journal, clock)
        for id_ in ids:
            send(guard, id_)
            if data.draw(st.booleans()):
                guard.launched(instance(id_, token=id_))
                guard.answered(Attempt(POOL, None, "", "launched", 0, 0), id_)
        try:
            guard.end()
        except StillRunningError:
            assert journal.unfinished("1")
            guard.abandon()
            account.trouble = lambda _: None
            clock.now += 60
            later(account, journal, clock)
        journal_left = journal.unfinished("1")
        journal.close()
    assert account.live == []
    assert journal_left == []


def test_expired_credentials_are_asked_for_and_waited_for(journal: Journal, clock: ManualClock) -> None:
    renewed_at = clock.now + 400  # past the patience for anything else

    def trouble(call: str) -> None:
        if call != "renew" and clock.now < renewed_at:
            error = GputxError("ExpiredToken", hint="renew them")
            error.renewable = True
            raise error

    said: list[str] = []
    account = Account({"i-1": instance()}, trouble=trouble)
    guard = unarmed(account, journal, clock, said.append)
    guard.arm()
    made(guard)
    guard.end()
    assert account.live == []
    assert said[0].startswith("new credentials are needed to end what runs: renew them")
    assert account.calls.count("renew") > 3


def test_a_journal_that_fails_forbids_the_launch_and_not_the_end(journal: Journal, clock: ManualClock) -> None:
    said: list[str] = []
    account = Account({"i-1": instance()})
    guard = unarmed(account, journal, clock, said.append)
    guard.arm()
    made(guard)
    journal.close()
    (journal.directory / "journal.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match="journal"):
        guard.launching("t2")
    guard.end()
    assert account.live == []


class TestWhatALaterProcessDoes:
    """A guard that dies is one that is never ended; the kernel lets go of its lock."""

    def test_it_ends_what_was_known(self, journal: Journal, clock: ManualClock) -> None:
        account = Account({"i-1": instance()})
        guard = guard_of(account, journal, clock)
        made(guard)
        guard.abandon()
        settled = later(account, journal, clock)
        assert settled.ended == ("i-1", "the key pair and security group of run r1")
        assert account.live == []
        assert journal.unfinished("1") == []
        assert later(account, journal, clock).runs == ()

    def test_it_leaves_alone_what_a_living_process_holds(self, journal: Journal, clock: ManualClock) -> None:
        account = Account({"i-1": instance()})
        made(guard_of(account, journal, clock))
        assert later(account, journal, clock).runs == ()
        assert account.calls == []

    def test_a_launch_that_can_not_be_seen_is_fenced_and_stays_open(self, journal: Journal, clock: ManualClock) -> None:
        account = Account({"i-1": instance()}, visible=lambda: False)
        guard = guard_of(account, journal, clock)
        send(guard)
        guard.abandon()
        settled = later(account, journal, clock)
        assert [error.exit_code for error in settled.open] == [5]
        assert account.calls[0] == "delete_key"
        assert account.calls[-1] == "delete_groups"
        assert [entry.state for entry in journal.unfinished("1")] == [State.SENT]

        account.visible = lambda: True
        assert later(account, journal, clock).ended == ("i-1",)
        assert journal.unfinished("1") == []

    def test_past_its_deadline_and_not_to_be_seen_it_is_closed(self, journal: Journal, clock: ManualClock) -> None:
        account = Account()
        guard = guard_of(account, journal, clock)
        send(guard)
        guard.abandon()
        clock.now += 7200 + 400
        assert later(account, journal, clock).open == ()
        assert journal.unfinished("1") == []

    def test_one_that_was_known_and_is_not_to_be_seen_proves_nothing_before_its_deadline(
        self, journal: Journal, clock: ManualClock
    ) -> None:
        account = Account()
        guard = guard_of(account, journal, clock)
        made(guard)
        guard.abandon()
        assert len(later(account, journal, clock).open) == 1
        assert journal.unfinished("1")
        clock.now += 7200 + 400
        assert later(account, journal, clock).open == ()
        assert journal.unfinished("1") == []

    def test_what_somebody_has_taken_over_is_left_alone_and_told(self, journal: Journal, clock: ManualClock) -> None:
        account = Account({"i-1": instance()}, visible=lambda: False, untagged={"i-1"})
        guard = guard_of(account, journal, clock)
        made(guard)
        guard.abandon()
        [told] = later(account, journal, clock).open
        assert "its gputx tag was taken off" in told.message
        assert not [call for call in account.calls if call.startswith("terminate")]

    def test_one_run_that_is_stuck_does_not_hold_up_the_next(self, journal: Journal, clock: ManualClock) -> None:
        for run in ("r1", "r2"):
            record = RunRecord(journal, account="1", region="eu-north-1", run_id=run, deadline=clock.now + 7200)
            guard = Guard(record=record, custody=Account(), clock=clock)
            guard.arm()
            guard.making(Kind.KEY_PAIR, f"gputx-{run}")
            if run == "r1":
                send(guard)
            guard.abandon()
        settled = later(Account(), journal, clock)
        assert settled.runs == ("r2",)
        assert len(settled.open) == 1

    def test_another_account_and_another_region_are_not_its_business(
        self, journal: Journal, clock: ManualClock
    ) -> None:
        guard = guard_of(Account(), journal, clock)
        send(guard)
        guard.abandon()
        account = Account()
        settle(journal, account, account="2", region="eu-north-1", clock=clock)
        settle(journal, account, account="1", region="us-east-1", clock=clock)
        assert account.calls == []
