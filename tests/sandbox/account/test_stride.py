"""How a turn of the clock is cut into steps, with guests that are only said to be there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from gputx.sandbox import passing
from gputx.sandbox.clock import SandboxClock, write_offset
from gputx.sandbox.passing import Passing
from gputx.sandbox.timers import Timers

HOUR = 3600.0


class Sleepers:
    """Guests of which one wakes every so often; each look at them takes a while, by the watch that is given."""

    def __init__(self, clock: SandboxClock, every: float, cost: float) -> None:
        self.clock, self.every, self.cost = clock, every, cost
        self.spent = 0.0
        self.due = clock.time() + every
        self.woken = 0

    def monotonic(self) -> float:
        return self.spent

    def settle(self, *, boots: bool) -> float:
        self.spent += self.cost
        if self.due <= self.clock.time():
            self.woken += 1
            self.due = self.clock.time() + self.every
        return self.due


@pytest.fixture
def clock(tmp_path: Path) -> SandboxClock:
    write_offset(tmp_path / "clock", 0.0)
    return SandboxClock(tmp_path / "clock")


def advance(clock: SandboxClock, guests: Any, seconds: float, monkeypatch: pytest.MonkeyPatch) -> Timers:
    timers = Timers(clock, threading.RLock())

    def turn(offset: float) -> None:
        write_offset(clock._path, offset)
        timers.run_due()

    monkeypatch.setattr(passing, "time", guests)
    assert Passing(clock, timers, guests, turn).advance(seconds) == pytest.approx(seconds)
    assert clock.offset == pytest.approx(seconds)
    return timers


def test_a_guest_wakes_as_often_as_it_would_have(clock: SandboxClock, monkeypatch: pytest.MonkeyPatch) -> None:
    guests = Sleepers(clock, every=60, cost=0.02)
    advance(clock, guests, HOUR, monkeypatch)
    assert guests.woken == 60


def test_a_guest_that_is_woken_all_the_time_does_not_hold_a_turn_up(
    clock: SandboxClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests = Sleepers(clock, every=1, cost=0.05)
    advance(clock, guests, 24 * HOUR, monkeypatch)
    assert guests.spent < 8
    assert guests.woken > 60


def test_the_control_plane_s_timers_and_the_guests_take_turns(
    clock: SandboxClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests = Sleepers(clock, every=60, cost=0.02)
    seen: list[int] = []
    timers = Timers(clock, threading.RLock())

    def turn(offset: float) -> None:
        write_offset(clock._path, offset)
        timers.run_due()

    for minutes in (1.5, 3.5, 9.5):
        timers.at(clock.time() + 60 * minutes, lambda _: seen.append(guests.woken))
    timers.at(clock.time() + 90, seen.append).cancel()  # type: ignore[arg-type]
    monkeypatch.setattr(passing, "time", guests)
    Passing(clock, timers, guests, turn).advance(HOUR)  # type: ignore[arg-type]
    assert seen == [1, 3, 9]
