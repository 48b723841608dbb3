"""Signs of life: at once, again and again, through failures, and no longer than wanted."""

from __future__ import annotations

import threading

from gputx.clock import Stop
from gputx.errors import GputxError, InterruptedBySignal
from gputx.lease.heart import Heart


class SteppedClock:
    """Lets one sleep pass for each permit; a stop ends it like any other clock's."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.asked: list[float] = []

    def time(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float, stop: Stop | None = None) -> None:
        self.asked.append(seconds)
        while not self.permits.acquire(timeout=0.01):
            if stop is not None:
                stop.check()


def test_it_beats_at_once_and_at_each_interval_and_ends_when_left() -> None:
    clock, beats, fourth = SteppedClock(), [], threading.Event()

    def beat(number: int) -> None:
        beats.append(number)
        if number == 3:
            fourth.set()

    with Heart(beat, every=75.0, clock=clock):
        clock.permits.release(3)
        assert fourth.wait(10)
    assert beats == [0, 1, 2, 3]
    assert set(clock.asked) == {75.0}
    clock.permits.release(5)
    assert beats == [0, 1, 2, 3]


def test_a_failure_is_said_once_and_the_next_beat_is_tried() -> None:
    clock, said, over = SteppedClock(), [], threading.Event()

    def beat(number: int) -> None:
        if number == 5:
            over.set()
        if number in {1, 2, 4}:
            raise GputxError(f"missed {number}")

    with Heart(beat, every=1.0, clock=clock, missed=said.append):
        clock.permits.release(5)
        assert over.wait(10)
    assert said == ["missed 1", "missed 4"]


def test_a_stop_of_the_run_ends_it() -> None:
    clock, tried = SteppedClock(), threading.Event()

    def beat(_number: int) -> None:
        tried.set()
        raise InterruptedBySignal(2)

    with Heart(beat, every=1.0, clock=clock, missed=lambda _: None) as heart:
        assert tried.wait(10)
        heart._thread.join(10)
        assert not heart._thread.is_alive()
