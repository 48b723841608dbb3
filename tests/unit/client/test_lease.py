"""The guard and the sweep, against an account that fails in every way it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from clocks import ManualClock
from hypothesis import given
from hypothesis import strategies as st

from gputx.errors import GputxError, StillRunningError
from gputx.lease.guard import Guard
from gputx.lease.sweep import sweep
from gputx.models import Attempt, Instance, Leftover, Market, Pool

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

    def instances(self, run_id: str) -> Sequence[Instance]:
        self._called("instances")
        return list(self.table.values()) if self.visible() else []

    def terminate(self, instance_id: str) -> bool:
        self._called(f"terminate {instance_id}")
        if instance_id not in self.table or not self.visible():
            return False
        self.table[instance_id] = replace(self.table[instance_id], state="shutting-down")
        return True

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

    def _called(self, what: str) -> None:
        self.calls.append(what)
        self.trouble(what)

    @property
    def live(self) -> list[str]:
        return [i.id for i in self.table.values() if i.live]


def guard_of(account: Account, clock: ManualClock) -> Guard:
    guard = Guard(run_id="r1", custody=account, clock=clock)
    guard.arm()
    return guard


def test_what_was_never_armed_asks_nothing() -> None:
    account = Account()
    Guard(run_id="r1", custody=account, clock=ManualClock()).end()
    assert account.calls == []


def test_the_key_goes_first_and_the_group_last() -> None:
    account = Account({"i-1": instance()})
    guard = guard_of(account, ManualClock())
    guard.launched(instance())
    guard.end()

    assert account.calls == ["delete_key", "instances", "release i-1", "terminate i-1", "delete_groups"]
    assert guard.ended == ("i-1",)
    guard.end()
    assert len(account.calls) == 5, "ending twice asks nothing more"


def test_an_instance_nobody_remembers_is_found_by_its_tag() -> None:
    account = Account({"i-9": instance("i-9", token=None)})
    guard_of(account, ManualClock()).end()
    assert account.live == []


def test_a_launch_without_an_answer_is_waited_for() -> None:
    clock = ManualClock()
    appears = clock.now + 9
    account = Account({"i-1": instance()}, visible=lambda: clock.now >= appears)
    guard = guard_of(account, clock)
    guard.launching("t1")
    guard.answered(Attempt(POOL, "ReadTimeoutError", "", "no answer", 0, 0, answered=False), "t1")
    guard.end()
    assert account.live == []


def test_a_launch_that_was_refused_is_not_waited_for() -> None:
    clock = ManualClock()
    guard = guard_of(Account(), clock)
    guard.launching("t1")
    guard.answered(Attempt(POOL, "InsufficientInstanceCapacity", "", "no capacity", 0, 0), "t1")
    guard.end()
    assert clock.slept == []


def test_a_launch_that_is_never_seen_is_owned_up_to() -> None:
    """It was accepted, perhaps, and EC2 can take longer to show it than anyone waits: that is no "nothing runs"."""
    clock = ManualClock()
    guard = guard_of(Account(), clock)
    guard.launching("t1")
    guard.answered(Attempt(POOL, "ReadTimeoutError", "", "no answer", 0, 0, answered=False), "t1")
    with pytest.raises(StillRunningError, match="got no answer"):
        guard.end()


def test_a_key_that_can_not_be_deleted_costs_the_instance_no_second() -> None:
    clock = ManualClock()
    began = clock.now
    asked: list[float] = []

    def trouble(call: str) -> None:
        if call == "delete_key":
            raise GputxError("UnauthorizedOperation")
        if call.startswith("terminate"):
            asked.append(clock.now - began)

    guard = guard_of(Account({"i-1": instance()}, trouble=trouble), clock)
    guard.end()
    assert asked == [0.0]
    assert guard.ended == ("i-1",)
    assert guard.left == ("key pair",)


def test_trouble_is_insisted_through() -> None:
    left = {"delete_key": 2, "instances": 3, "release i-1": 1, "terminate i-1": 4, "delete_groups": 1}

    def trouble(call: str) -> None:
        if left.get(call, 0):
            left[call] -= 1
            raise GputxError("RequestLimitExceeded")

    account = Account({"i-1": instance()}, trouble=trouble)
    guard_of(account, ManualClock()).end()
    assert account.live == []


def test_an_end_that_is_not_seen_is_owned_up_to() -> None:
    def refuse(call: str) -> None:
        if call.startswith("terminate"):
            raise GputxError("UnauthorizedOperation")

    clock = ManualClock()
    began = clock.now
    with pytest.raises(StillRunningError) as caught:
        guard_of(Account({"i-1": instance()}, trouble=refuse), clock).end()
    assert caught.value.exit_code == 5
    assert "i-1" in caught.value.message
    assert "aws ec2 terminate-instances --region eu-north-1 --instance-ids i-1" in (caught.value.hint or "")
    assert 60 <= clock.now - began <= 300


def test_not_found_is_never_taken_for_ended() -> None:
    clock = ManualClock()
    guard = guard_of(Account(), clock)
    guard.launched(instance())
    with pytest.raises(StillRunningError):
        guard.end()


@given(st.data())
def test_whatever_fails_how_often_the_end_is_true(data: st.DataObject) -> None:
    """Either everything has ended, or the person is told that it could not be confirmed. Never a silent leak."""
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
    guard = guard_of(account, clock)
    for id_ in ids:
        guard.launching(id_)
        if data.draw(st.booleans()):
            guard.launched(instance(id_, token=id_))
            guard.answered(Attempt(POOL, None, "", "launched", 0, 0), id_)
    try:
        guard.end()
    except StillRunningError:
        return
    assert account.live == []


@dataclass
class House:
    """A Broom: what is there, and what was removed."""

    there: list[Leftover]
    stuck: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)

    def leftovers(self) -> Sequence[Leftover]:
        return self.there

    def remove(self, leftover: Leftover) -> bool:
        if leftover.id in self.stuck:
            raise GputxError("in use")
        self.removed.append(leftover.id)
        return True


def test_only_what_is_past_its_own_deadline_is_swept_instances_first() -> None:
    now = 10_000.0
    house = House(
        [
            Leftover("security group", "sg-old", "r1", now - 1000),
            Leftover("instance", "i-old", "r1", now - 1000),
            Leftover("instance", "i-young", "r2", now + 1000),
            Leftover("instance", "i-just-due", "r3", now - 1),
            Leftover("key pair", "no-deadline", "r4", None),
            Leftover("key pair", "stuck", "r5", now - 1000),
        ],
        stuck={"stuck"},
    )
    swept = sweep(house, now=now)
    assert house.removed == ["i-old", "sg-old"]
    assert [item.id for item in swept.kept] == ["stuck"]
