"""Ending what was judged: its order, its patience, and what it owns up to."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from clocks import ManualClock

from gputx.clock import Stop
from gputx.errors import ConfigurationError, ExitCode, GputxError, InterruptedBySignal, StillRunningError
from gputx.lease.reaper import Reaped, reap
from gputx.lease.unseen import Unseen
from gputx.lease.verdict import Verdict
from gputx.models import Kind, Leftover
from gputx.workflows.reap_report import Blind, Fate, ending, rows


def thing(kind: Kind, run_id: str = "r1", number: int = 1) -> Leftover:
    return Leftover(kind, f"{kind}-{run_id}-{number}", "eu-north-1", run_id)


def due(*things: Leftover) -> list[Verdict]:
    return [Verdict(thing, True, "past its deadline") for thing in things]


@dataclass
class Yard:
    """A Broom that notes what it was asked; ``answer`` may raise, or say that something still holds it."""

    answer: Callable[[Leftover], bool] = lambda _: True
    asked: list[Leftover] = field(default_factory=list)
    renewals: int = 0

    def remove(self, leftover: Leftover) -> bool:
        self.asked.append(leftover)
        return self.answer(leftover)

    def ending_command(self, leftover: Leftover) -> str:
        return f"aws end {leftover.id}"

    def renew(self) -> None:
        self.renewals += 1


def test_keys_first_then_what_runs_then_the_clutter() -> None:
    yard = Yard()
    everything = [thing(kind, run) for kind in Kind for run in ("r1", "r2")]
    reaped = reap(yard, due(*everything), clock=ManualClock())
    kinds = [leftover.kind for leftover in yard.asked]
    assert kinds[:8] == [Kind.KEY_PAIR] * 2 + [Kind.FLEET] * 2 + [Kind.SPOT_REQUEST] * 2 + [Kind.INSTANCE] * 2
    assert kinds.index(Kind.IMAGE) < kinds.index(Kind.SNAPSHOT)
    assert kinds.index(Kind.NETWORK_INTERFACE) < kinds.index(Kind.SECURITY_GROUP)
    assert set(reaped.ended) == set(everything)
    assert len(yard.asked) == len(everything), "each is asked for once"


def test_what_is_kept_is_never_asked_for() -> None:
    yard = Yard()
    kept = Verdict(thing(Kind.INSTANCE), False, "a colleague's")
    assert reap(yard, [kept], clock=ManualClock()) == Reaped((), ())
    assert yard.asked == []


def test_a_rehearsal_takes_the_same_path_and_asks_for_nothing() -> None:
    everything = due(*[thing(kind) for kind in Kind])
    yard, told = Yard(), []
    rehearsed = reap(yard, everything, clock=ManualClock(), dry_run=True, progress=told.append)
    assert yard.asked == []
    assert rehearsed == reap(Yard(), everything, clock=ManualClock())
    assert told == list(rehearsed.ended)


def test_one_that_is_stuck_holds_up_no_other() -> None:
    stuck, other = thing(Kind.INSTANCE, "r1"), thing(Kind.INSTANCE, "r2")
    clock, ended_at = ManualClock(), {}
    began = clock.now
    yard = Yard(lambda leftover: leftover != stuck)
    reaped = reap(
        yard,
        due(stuck, other),
        clock=clock,
        progress=lambda leftover: ended_at.update({leftover.id: clock.now - began}),
    )
    assert ended_at == {other.id: 0.0}
    assert [(left.leftover, left.why) for left in reaped.left] == [(stuck, "its end was not seen")]
    assert 100 <= clock.now - began <= 120


def test_throttling_is_insisted_through() -> None:
    times = {Kind.KEY_PAIR: 2, Kind.INSTANCE: 5, Kind.SECURITY_GROUP: 3}
    left = dict(times)

    def answer(leftover: Leftover) -> bool:
        if left[leftover.kind]:
            left[leftover.kind] -= 1
            raise GputxError("RequestLimitExceeded")
        return True

    reaped = reap(Yard(answer), due(*[thing(kind) for kind in times]), clock=ManualClock())
    assert reaped.left == ()


def test_what_is_not_allowed_is_not_asked_for_long() -> None:
    def refuse(_: Leftover) -> bool:
        raise ConfigurationError("UnauthorizedOperation")

    clock, yard = ManualClock(), Yard(refuse)
    reaped = reap(yard, due(thing(Kind.INSTANCE), thing(Kind.SECURITY_GROUP)), clock=clock)
    assert len(reaped.left) == 2
    assert sum(clock.slept) < 5
    assert reaped.left[0].command == "aws end instance-r1-1"


def test_expired_credentials_are_waited_for() -> None:
    clock = ManualClock()
    back_at, said = clock.now + 300, []

    def answer(_: Leftover) -> bool:
        if clock.now < back_at:
            error = ConfigurationError("ExpiredToken", hint="aws sso login")
            error.renewable = True
            raise error
        return True

    yard = Yard(answer)
    assert reap(yard, due(thing(Kind.INSTANCE)), clock=clock, say=said.append).left == ()
    assert yard.renewals > 3
    assert "aws sso login" in said[0]


def test_a_schedule_stays_while_what_it_would_end_may_run() -> None:
    yard = Yard(lambda leftover: leftover.kind is not Kind.INSTANCE)
    reaped = reap(
        yard, due(thing(Kind.INSTANCE), thing(Kind.SCHEDULE), thing(Kind.SCHEDULE, "r2")), clock=ManualClock()
    )
    assert [left.leftover.kind for left in reaped.left] == [Kind.INSTANCE, Kind.SCHEDULE]
    assert reaped.ended == (thing(Kind.SCHEDULE, "r2"),)


def test_a_schedule_stays_where_nobody_could_look_for_its_instance() -> None:
    yard = Yard()
    reaped = reap(
        yard, due(*[thing(kind) for kind in Kind if kind is not Kind.INSTANCE]), clock=ManualClock(), deaf=True
    )
    assert [left.leftover.kind for left in reaped.left] == [Kind.SCHEDULE]
    assert not reaped.left[0].tried
    assert Kind.SCHEDULE not in {leftover.kind for leftover in yard.asked}


def test_what_has_landed_meanwhile_has_its_turn_before_the_clutter() -> None:
    held, asked_at = [thing(Kind.SECURITY_GROUP)], []
    yard = Yard(lambda leftover: leftover not in held)
    told: list[Leftover] = []

    def settle(ended: Sequence[Leftover]) -> list[str]:
        told.extend(ended)
        asked_at.append([leftover.kind for leftover in yard.asked])
        held.clear()
        return ["r2"]

    clock = ManualClock()
    kinds = (Kind.KEY_PAIR, Kind.INSTANCE, Kind.SECURITY_GROUP, Kind.SCHEDULE)
    everything = due(*[thing(kind) for kind in kinds], thing(Kind.SCHEDULE, "r2"))
    reaped = reap(yard, everything, clock=clock, before_clutter=settle)
    assert asked_at == [[Kind.KEY_PAIR, Kind.INSTANCE]]
    assert told == [thing(Kind.KEY_PAIR), thing(Kind.INSTANCE)]
    assert [left.leftover for left in reaped.left] == [thing(Kind.SCHEDULE, "r2")], "its instance may run"
    assert sum(clock.slept) == 0


def test_nothing_is_settled_in_a_rehearsal_or_after_a_stop() -> None:
    def never(_: Sequence[Leftover]) -> list[str]:
        raise AssertionError

    stop = Stop()
    stop.request(signal.SIGINT)
    reap(Yard(), due(thing(Kind.INSTANCE)), clock=ManualClock(), dry_run=True, before_clutter=never)
    reap(Yard(), due(thing(Kind.INSTANCE)), clock=ManualClock(), stop=stop, before_clutter=never)


def test_a_fleet_is_ended_before_its_instances_even_if_that_takes_asking() -> None:
    refusals = iter([True, True, False])

    def answer(leftover: Leftover) -> bool:
        return leftover.kind is not Kind.FLEET or not next(refusals)

    yard = Yard(answer)
    reap(yard, due(thing(Kind.INSTANCE), thing(Kind.FLEET)), clock=ManualClock())
    assert [leftover.kind for leftover in yard.asked] == [Kind.FLEET] * 3 + [Kind.INSTANCE]


def test_a_stop_leaves_the_rest_where_it_is() -> None:
    stop = Stop()

    def answer(_: Leftover) -> bool:
        stop.request(signal.SIGINT)
        return True

    reaped = reap(Yard(answer), due(*[thing(kind) for kind in Kind]), clock=ManualClock(), stop=stop)
    assert [leftover.kind for leftover in reaped.ended] == [Kind.KEY_PAIR]
    assert not any(left.tried for left in reaped.left)
    assert isinstance(ending(reaped.left, [], [], stop.signum), InterruptedBySignal)


def test_a_bug_in_one_answer_costs_only_that_thing() -> None:
    def answer(leftover: Leftover) -> bool:
        if leftover.kind is Kind.VOLUME:
            raise KeyError("State")
        return True

    reaped = reap(Yard(answer), due(*[thing(kind) for kind in Kind]), clock=ManualClock())
    assert [left.why for left in reaped.left] == ["KeyError: 'State'"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Kind.INSTANCE, 5), (Kind.FLEET, 5), (Kind.SPOT_REQUEST, 1), (Kind.SECURITY_GROUP, 1), (Kind.IMAGE, 1)],
)
def test_the_exit_code_says_what_is_left(kind: Kind, code: int) -> None:
    reaped = reap(Yard(lambda _: False), due(thing(kind)), clock=ManualClock())
    error = ending(reaped.left, [], [], None)
    assert error is not None
    assert error.exit_code == code
    if code == ExitCode.STILL_RUNNING:
        assert error.hint == f"aws end {kind}-r1-1"
    assert [row.fate for row in rows(due(thing(kind)), reaped, dry_run=False)] == [Fate.LEFT]


def test_what_could_not_be_looked_for_is_not_well() -> None:
    error = ending([], [], [Blind("eu-north-1", "fleets", "UnauthorizedOperation")], None)
    assert error is not None
    assert error.exit_code == 1
    assert "could not look for fleets in eu-north-1: UnauthorizedOperation" in error.details
    assert ending([], [], [], None) is None


def test_a_launch_that_may_still_land_is_something_that_may_run() -> None:
    launch = Unseen(Kind.INSTANCE, None, "eu-north-1", "r1", 0.0, "1 launch of run r1 is not visible yet", may_run=True)
    error = ending([], [launch], [], None)
    assert isinstance(error, StillRunningError)
    assert "1 launch of run r1 is not visible yet" in error.details
