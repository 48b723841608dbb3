"""The circuit opens, lets one through to see, and closes."""

from __future__ import annotations

from gputx.workflows.endpoints.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Breaker, Circuit


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_several_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(Time(), failures=3)
    for _ in range(2):
        breaker.failed()
    assert breaker.circuit is Circuit.CLOSED
    breaker.succeeded()
    for _ in range(3):
        assert breaker.let_through()
        breaker.failed()
    assert breaker.circuit is Circuit.OPEN
    assert not breaker.let_through()
    assert breaker.opens_in == FIRST_PAUSE_SECONDS


def test_half_open_lets_one_through_and_its_success_closes_it() -> None:
    time = Time()
    breaker = Breaker(time, failures=1)
    breaker.failed()
    time.now += FIRST_PAUSE_SECONDS
    assert breaker.circuit is Circuit.HALF_OPEN
    assert breaker.let_through()
    assert not breaker.let_through()
    breaker.succeeded()
    assert breaker.circuit is Circuit.CLOSED
    assert breaker.let_through()
    assert breaker.let_through()


def test_who_fails_again_is_left_alone_twice_as_long_up_to_a_minute() -> None:
    time = Time()
    breaker = Breaker(time, failures=1)
    pauses = []
    for _ in range(8):
        breaker.let_through()
        breaker.failed()
        pauses.append(breaker.opens_in)
        time.now += breaker.opens_in
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    breaker.succeeded()
    breaker.failed()
    assert breaker.opens_in == FIRST_PAUSE_SECONDS


def test_one_outage_with_many_on_their_way_opens_it_once() -> None:
    time = Time()
    breaker = Breaker(time, failures=3)
    for _ in range(8):
        assert breaker.let_through()
    for _ in range(8):
        breaker.failed()
    assert breaker.opens_in == FIRST_PAUSE_SECONDS
    time.now += FIRST_PAUSE_SECONDS
    breaker.failed()  # one more of those, late
    assert breaker.let_through()
    breaker.failed()
    assert breaker.opens_in == 2 * FIRST_PAUSE_SECONDS
