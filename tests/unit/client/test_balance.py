"""Several servers as one: who is asked, who is asked instead, and what is never sent twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError, InterruptedBySignal
from gputx.workflows.endpoints.answers import (
    BusyError,
    GoneError,
    LostError,
    RefusedError,
    UnreachedError,
    WrongModelError,
)
from gputx.workflows.endpoints.balance import BUSY_SECONDS, Balance
from gputx.workflows.endpoints.breaker import Circuit
from gputx.workflows.endpoints.endpoint import Endpoint, Health, Recording, Tell
from gputx.workflows.worker import Asked

ASKED = Asked("sv", "transcribe")
TAPE = Recording("f0", Path("tape.flac"), 10.0)


@dataclass
class Talk:
    """A server that does as it is told. Each of ``outcomes`` is what becomes of one recording; then all is well."""

    queue: float = 0.0
    rate: float = 10.0
    draining: bool = False
    outcomes: list[GputxError] = field(default_factory=list)
    unwell: GputxError | None = None
    taken: list[str] = field(default_factory=list)
    at_once: int = 4
    while_at_it: Callable[[], None] = lambda: None
    closed: bool = False

    def health(self) -> Health:
        if self.unwell:
            raise self.unwell
        return Health("m", "cpu", self.queue, self.rate, self.draining)

    def transcribe(self, recording: Recording, asked: Asked, tell: Tell, stop: Stop) -> None:
        self.taken.append(recording.id)
        self.while_at_it()
        if self.outcomes:
            raise self.outcomes.pop(0)
        tell({"event": "started", "id": recording.id})
        tell({"event": "finished", "id": recording.id})

    def close(self) -> None:
        self.closed = True


class Time:
    """Moves on a little whenever it is asked, so that nothing that waits for it waits for ever."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.05
        return self.now


def balance(*talks: Talk, time: Time | None = None, notes: list[str] | None = None, give_up: float = 30.0) -> Balance:
    now = time or Time()
    endpoints = [Endpoint(f"s{number}", talk, now) for number, talk in enumerate(talks)]
    return Balance(endpoints, note=(notes if notes is not None else []).append, give_up=give_up, now=now)


def send(to: Balance, recording: Recording = TAPE) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    to.transcribe(recording, ASKED, told.append, Stop())
    return told


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gputx.workflows.endpoints.balance._PAUSE_SECONDS", 0.0)


def test_the_shortest_wait_is_chosen_by_queue_and_pace() -> None:
    long_and_fast, short_and_slow, draining = Talk(900, 100), Talk(50, 1), Talk(0, 100, draining=True)
    send(balance(short_and_slow, long_and_fast, draining))
    assert (len(long_and_fast.taken), len(short_and_slow.taken), len(draining.taken)) == (1, 0, 0)


def test_what_is_under_way_from_here_counts_as_queue() -> None:
    one, other = Talk(rate=1), Talk(rate=1)
    both = balance(one, other)
    inside = threading.Event()
    leave = threading.Event()

    def hold() -> None:
        inside.set()
        assert leave.wait(10)

    one.while_at_it = other.while_at_it = hold
    first = threading.Thread(target=send, args=(both,))
    first.start()
    assert inside.wait(10)
    inside.clear()
    second = threading.Thread(target=send, args=(both, Recording("f1", TAPE.path, 5.0)))
    second.start()
    assert inside.wait(10)
    leave.set()
    first.join(10)
    second.join(10)
    assert sorted(one.taken + other.taken) == ["f0", "f1"]
    assert len(one.taken) == len(other.taken) == 1


@pytest.mark.parametrize("why", [UnreachedError("gone"), BusyError("full", 5.0)])
def test_where_nothing_was_lost_another_is_asked(why: GputxError) -> None:
    first, second = Talk(queue=0, outcomes=[why]), Talk(queue=100)
    told = send(balance(first, second))
    assert told == [{"event": "started", "id": "f0"}, {"event": "finished", "id": "f0"}]
    assert first.taken == second.taken == ["f0"]


@pytest.mark.parametrize("why", [LostError("lost"), RefusedError("no"), ConfigurationError("token")])
def test_what_may_be_lost_or_is_refused_is_not_sent_again(why: GputxError) -> None:
    first, second = Talk(outcomes=[why]), Talk(queue=100)
    with pytest.raises(type(why)):
        send(balance(first, second))
    assert not second.taken


def test_a_busy_server_is_asked_again_when_it_said_so() -> None:
    time = Time()
    one = Talk(outcomes=[BusyError("full", 40.0)])
    send(balance(one, time=time))
    assert one.taken == ["f0", "f0"]
    assert time.now >= 40


def test_a_server_that_fails_is_left_alone_and_is_back_when_it_answers() -> None:
    notes: list[str] = []
    time = Time()
    bad = Talk(outcomes=[UnreachedError("s0 can't be reached")] * 3)
    good = Talk(queue=1000, rate=1)
    both = balance(bad, good, time=time, notes=notes)
    for _ in range(3):
        send(both)
    assert len(bad.taken) == 3
    assert both.endpoints[0].breaker.circuit is Circuit.OPEN
    send(both)
    assert len(bad.taken) == 3  # it is spared
    assert any("left alone" in line for line in notes)
    time.now += 5
    good.unwell = UnreachedError("s1 is off")
    good.outcomes = [UnreachedError("s1 is off")] * 9
    send(both)
    assert len(bad.taken) == 4
    assert both.endpoints[0].breaker.circuit is Circuit.CLOSED
    assert any("is back" in line for line in notes)


def test_it_gives_up_when_nobody_answers_for_long() -> None:
    with pytest.raises(UnreachedError, match="off"):
        send(balance(Talk(outcomes=[UnreachedError("off")] * 99), give_up=20))


def test_all_recordings_together_wait_once_for_a_server_that_is_gone() -> None:
    time = Time()
    both = balance(Talk(outcomes=[UnreachedError("off")] * 99), time=time, give_up=20)
    began = time.now
    for _ in range(5):
        with pytest.raises(UnreachedError, match="off"):
            send(both)
    assert time.now - began < 2 * 20


def test_patience_begins_anew_with_what_is_taken_on() -> None:
    time = Time()
    one = Talk(outcomes=[UnreachedError("off")] * 3)
    alone = balance(one, time=time, give_up=20)
    send(alone)
    time.now += 1000
    one.outcomes = [UnreachedError("off")] * 3
    send(alone)


def test_a_server_that_will_not_be_back_ends_them_all_at_once() -> None:
    time = Time()
    talk = Talk(outcomes=[UnreachedError("lost")] * 99)
    endpoint = Endpoint("s0", talk, time, gone=lambda: GputxError("i-1 has ended", hint="gputx api up"))
    alone = Balance([endpoint], now=time, give_up=900)
    for _ in range(3):
        with pytest.raises(GoneError, match="i-1 has ended"):
            send(alone)
    assert time.now < 30


def test_busy_has_an_end_grows_and_is_told_once() -> None:
    time, notes = Time(), list[str]()
    full = Talk(outcomes=[BusyError("s0 is busy: full", 1.0)] * 9999)
    with pytest.raises(BusyError):
        send(balance(full, time=time, notes=notes))
    assert BUSY_SECONDS <= time.now < BUSY_SECONDS + 120
    assert len(full.taken) < 100  # each time it is sent all of the recording
    assert notes == ["s0 is busy: full; waiting for it, an hour at most"]


def test_one_that_drained_before_it_failed_is_asked_again() -> None:
    time = Time()
    draining = Talk(draining=True)
    alone = balance(draining, time=time, give_up=200)
    alone.healths()
    draining.unwell = UnreachedError("starting again")
    stop = Stop()
    asked: list[float] = []

    def wait(_seconds: float) -> bool:
        asked.append(time.now)
        if alone.endpoints[0].breaker.circuit is Circuit.OPEN:
            draining.draining, draining.unwell = False, None  # it is another process now
        return False

    stop.wait = wait  # type: ignore[method-assign]
    alone.transcribe(TAPE, ASKED, lambda _: None, stop)
    assert draining.taken == ["f0"]


def test_another_model_is_said_whichever_of_several_has_it() -> None:
    wrong = WrongModelError("s1 has the model b, not a")
    with pytest.raises(WrongModelError):
        balance(Talk(), Talk(unwell=wrong)).healths()


def test_a_stop_is_heard() -> None:
    stop = Stop()
    stop.request(15)
    with pytest.raises(InterruptedBySignal):
        balance(Talk()).transcribe(TAPE, ASKED, lambda _: None, stop)


def test_health_is_of_all_that_answer() -> None:
    both = balance(Talk(unwell=UnreachedError("off")), Talk())
    assert [health.model for health in both.healths()] == ["m"]
    with pytest.raises(UnreachedError):
        balance(Talk(unwell=UnreachedError("off"))).healths()
    with pytest.raises(ConfigurationError):
        balance(Talk(unwell=ConfigurationError("token"))).healths()


def test_closing_closes_all() -> None:
    talks = [Talk(), Talk()]
    balance(*talks).close()
    assert all(talk.closed for talk in talks)
