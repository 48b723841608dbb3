"""An image under the lease: undone by whoever comes upon it, unless it was finished; and builders that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clocks import ManualClock

from gputx.aws import images, tags
from gputx.errors import ConfigurationError
from gputx.lease.guard import IMAGE_SEEN_SECONDS, Guard
from gputx.lease.journal import Journal, State
from gputx.lease.record import RunRecord
from gputx.lease.settle import settle
from gputx.lease.verdict import KEPT, Policy, judge
from gputx.models import Instance, Kind, Leftover, Market


class Shelf:
    """A Custody of which only images are asked: ``there`` is how many unfinished ones are to be seen."""

    def __init__(self, there: int = 0) -> None:
        self.there = there
        self.asked = 0
        self.terminated: list[str] = []

    def delete_images(self, run_id: str) -> int:
        self.asked += 1
        seen, self.there = self.there, 0
        return seen

    def instances(self, run_id: str) -> list[Instance]:
        return [Instance("i-1", "running", "g4dn.xlarge", "eu-north-1a", Market.SPOT, 0.0)]

    def terminate(self, instance_id: str) -> bool:
        self.terminated.append(instance_id)
        return True

    def disowned(self, instance_id: str) -> bool:
        return False

    def delete_key(self, run_id: str) -> None:
        return None

    def release_group(self, instance: Instance) -> bool:
        return True

    def delete_groups(self, run_id: str) -> bool:
        return True

    def delete_schedule(self, run_id: str) -> None:
        return None

    def ending_command(self, instance_id: str) -> str:
        return ""

    def renew(self) -> None:
        return None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def journal(tmp_path: Path, clock: ManualClock) -> Iterator[Journal]:
    journal = Journal(tmp_path, clock)
    yield journal
    journal.close()


def leased(shelf: Shelf, journal: Journal, clock: ManualClock, run_id: str = "r1-image") -> Guard:
    record = RunRecord(journal, account="1", region="eu-north-1", run_id=run_id, deadline=clock.now + 7200)
    guard = Guard(record=record, custody=shelf, clock=clock)
    guard.arm()
    return guard


def settled(shelf: Shelf, journal: Journal, clock: ManualClock, **more: str) -> None:
    settle(journal, shelf, account="1", region="eu-north-1", clock=clock, **more)  # type: ignore[arg-type]


def test_an_image_is_undone_where_its_build_ends_before_it(journal: Journal, clock: ManualClock) -> None:
    shelf = Shelf(there=2)
    guard = leased(shelf, journal, clock)
    guard.making(Kind.IMAGE, "gputx-t4-1")
    guard.made(Kind.IMAGE, "ami-1")
    guard.end()
    assert shelf.asked == 2, "it is looked at again until nothing is to be seen"
    assert journal.unfinished("1") == []


def test_a_finished_image_is_nobody_s_to_undo(journal: Journal, clock: ManualClock) -> None:
    shelf = Shelf()
    guard = leased(shelf, journal, clock)
    guard.making(Kind.IMAGE, "gputx-t4-1")
    guard.made(Kind.IMAGE, "ami-1")
    guard.finished(Kind.IMAGE)
    guard.end()
    settled(shelf, journal, clock)
    assert shelf.asked == 0
    assert journal.unfinished("1") == []


def test_an_image_that_was_refused_is_not_looked_for(journal: Journal, clock: ManualClock) -> None:
    shelf = Shelf()
    guard = leased(shelf, journal, clock)
    guard.making(Kind.IMAGE, "gputx-t4-1")
    guard.refused(Kind.IMAGE)
    guard.end()
    assert (shelf.asked, journal.unfinished("1")) == (0, [])


def test_an_image_without_an_answer_is_looked_for_until_it_must_have_been_seen(
    journal: Journal, clock: ManualClock
) -> None:
    shelf = Shelf()
    guard = leased(shelf, journal, clock)
    guard.making(Kind.IMAGE, "gputx-t4-1")
    guard.abandon()  # killed
    settled(shelf, journal, clock)
    assert [entry.state for entry in journal.unfinished("1")] == [State.SENT]
    shelf.there = 1  # it lands late
    settled(shelf, journal, clock)
    assert journal.unfinished("1") == []
    other = leased(shelf, journal, clock, "r2-image")
    other.making(Kind.IMAGE, "gputx-t4-2")
    other.abandon()
    clock.now += IMAGE_SEEN_SECONDS + 1
    settled(shelf, journal, clock)
    assert journal.unfinished("1") == [], "what nobody has seen for so long never came to be"


def kept_builder(shelf: Shelf, journal: Journal, clock: ManualClock) -> None:
    guard = leased(shelf, journal, clock, "r1")
    guard.making(Kind.KEY_PAIR, "gputx-r1")
    guard.made(Kind.KEY_PAIR, "gputx-r1")
    guard.launching("t1")
    guard.sending("t1")
    guard.launched(Instance("i-1", "running", "g4dn.xlarge", "eu-north-1a", Market.SPOT, 0.0, token="t1"))
    guard.keep(clock.now + 1800)


def test_a_kept_builder_is_left_alone_until_its_time_is_over(journal: Journal, clock: ManualClock) -> None:
    shelf = Shelf()
    kept_builder(shelf, journal, clock)
    settled(shelf, journal, clock)
    assert shelf.terminated == []
    clock.now += 1801
    settled(shelf, journal, clock)
    assert shelf.terminated == ["i-1"]
    assert journal.unfinished("1") == []


def test_a_kept_builder_ends_when_it_is_asked_for_by_name(journal: Journal, clock: ManualClock) -> None:
    shelf = Shelf()
    kept_builder(shelf, journal, clock)
    settled(shelf, journal, clock, run_id="r1")
    assert shelf.terminated == ["i-1"]


def test_a_builder_that_is_worked_on_again_is_kept_no_more(journal: Journal, clock: ManualClock) -> None:
    shelf = Shelf()
    kept_builder(shelf, journal, clock)
    journal.take_back("r1")
    settled(shelf, journal, clock)
    assert shelf.terminated == ["i-1"]


@pytest.mark.parametrize(("due", "ends"), [(600.0, False), (-600.0, True)])
def test_a_reap_spares_what_is_kept_and_only_for_so_long(due: float, ends: bool) -> None:
    now = 1_700_000_000.0
    builder = Leftover(Kind.INSTANCE, "i-1", "eu-north-1", "r1", owner="me", purpose=KEPT, deadline=now + due)
    (verdict,) = judge([builder], Policy(caller="me", journal_id="", held=lambda _: False, now=now))
    assert verdict.ends is ends
    (named,) = judge([builder], Policy(caller="me", journal_id="", held=lambda _: False, now=now, run_id="r1"))
    assert named.ends


@pytest.mark.parametrize("run_id", ["r1", "r1-2", "r1-9", "r1-image"])
def test_all_parts_of_a_build_go_by_its_name(run_id: str) -> None:
    policy = Policy(caller="", journal_id="", held=lambda _: False, now=0.0, run_id="r1")
    assert policy.names(run_id)
    assert not policy.names(f"{run_id}x")
    assert not policy.names("r2")


def image(id_: str, created: str, state: str = "available", **labels: str) -> dict[str, object]:
    said = {
        "gputx:contract": "1",
        "gputx:model": "m",
        "gputx:model-revision": "r",
        "gputx:ssh-user": "ubuntu",
        "gputx:ssh-port": "22",
        **{name.replace("_", ":"): value for name, value in labels.items()},
    }
    return {"ImageId": id_, "CreationDate": created, "State": state, "Tags": tags.listed(said)}


def test_a_run_never_chooses_an_image_that_is_not_finished() -> None:
    whole = image("ami-whole", "2026-01-01T00:00:00Z")
    half = image("ami-half", "2026-02-01T00:00:00Z", gputx_deadline="2026-02-01T04:00:00Z")
    pending = image("ami-pending", "2026-03-01T00:00:00Z", "pending")
    failed = image("ami-failed", "2026-04-01T00:00:00Z", "failed")
    assert images.choose([half, pending, failed, whole], region="x").id == "ami-whole"
    with pytest.raises(ConfigurationError, match="there is no gputx image"):
        images.choose([half, pending, failed], region="x")


@pytest.mark.parametrize(("state", "why"), [("pending", "it is pending"), ("failed", "it is failed")])
def test_who_names_an_image_that_is_not_there_yet_is_told_so(state: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        images.choose([image("ami-1", "2026-01-01", state)], region="x", asked="ami-1")


def test_who_names_an_image_that_was_not_checked_is_told_so() -> None:
    half = image("ami-1", "2026-01-01", gputx_deadline="2026-02-01T04:00:00Z")
    with pytest.raises(ConfigurationError, match="has not finished"):
        images.choose([half], region="x", asked="ami-1")
