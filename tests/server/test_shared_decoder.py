"""Many jobs at one model: shared turns, fair shares, each job's own answers, and trouble that stays where it is."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from gated_decoder import POISON, GatedDecoder, window

from gputx_remote.decoders.decoder import Request
from gputx_remote.engine.memory import Room
from gputx_remote.errors import EngineError
from gputx_remote.server import shared as shared_module
from gputx_remote.server.seat import Seat
from gputx_remote.server.shared import CancelledError, SharedDecoder


class House:
    """A shared decoder, and threads that ask it."""

    def __init__(self, decoder: GatedDecoder, size: int, retreat: Callable[[], GatedDecoder]) -> None:
        self.decoder = decoder
        self.notes: list[str] = []
        self.shared = SharedDecoder(Room(decoder, size, retreat, self.notes.append), clock=lambda: 0.0)
        self.pool = ThreadPoolExecutor(32)

    def decode(self, seat: Seat, *numbers: int) -> Future[list[int]]:
        """Asked in a thread; returns only once it stands in the queue."""
        before = len(seat.waiting)

        def ask() -> list[int]:
            encoded = seat.encode([window(number) for number in numbers])
            return [one.tokens[0] for one in seat.decode(encoded, [Request(())] * len(numbers))]

        future = self.pool.submit(ask)
        while not future.done() and len(seat.waiting) == before:
            threading.Event().wait(0.001)
        return future

    def hold(self) -> Future[list[int]]:
        """Keep the model busy with window 0 until the gate opens."""
        seat = self.shared.seat()
        future = self.pool.submit(
            lambda: [one.tokens[0] for one in seat.decode(seat.encode([window(0)]), [Request(())])]
        )
        assert self.decoder.begun.acquire(timeout=10)
        seat.close()
        return future

    def close(self) -> None:
        self.decoder.gate.set()
        self.shared.close()
        self.pool.shutdown()


@pytest.fixture
def make() -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def build(
        decoder: GatedDecoder | None = None, size: int = 4, retreat: Callable[[], GatedDecoder] = GatedDecoder
    ) -> House:
        houses.append(House(decoder or GatedDecoder(), size, retreat))
        return houses[-1]

    yield build
    for house in houses:
        house.close()


def test_windows_of_several_jobs_share_a_turn(make: Callable[..., House]) -> None:
    house = make(GatedDecoder(device="cuda"))
    house.hold()
    seats = [house.shared.seat() for _ in range(3)]
    asked = [house.decode(seat, 10 + number, 20 + number) for number, seat in enumerate(seats)]
    house.decoder.gate.set()
    assert [future.result(10) for future in asked] == [[10, 20], [11, 21], [12, 22]]
    # Four at once fit: one of each job, and a second one of whoever comes first again.
    assert [sorted(turn) for turn in house.decoder.turns] == [[0], [10, 11, 12, 20], [21, 22]]
    # What is decoded together was encoded together, in the same turn.
    assert [len(one) for one in house.decoder.encoded] == [1, 4, 2]


def test_a_short_job_waits_for_one_turn_and_not_for_a_long_jobs_end(make: Callable[..., House]) -> None:
    house = make()
    house.hold()
    long = house.shared.seat()
    much = house.decode(long, *range(100, 140))
    short = house.shared.seat()
    little = house.decode(short, 7)
    house.decoder.gate.set()
    assert little.result(10) == [7]
    assert much.result(10) == list(range(100, 140))
    assert 7 in house.decoder.turns[1]


def test_who_was_idle_has_no_credit(make: Callable[..., House]) -> None:
    house = make(size=2)
    house.decoder.gate.set()
    idle, busy = house.shared.seat(), house.shared.seat()
    house.decode(busy, *range(100, 120)).result(10)
    house.decoder.gate.clear()
    house.decoder.begun = threading.Semaphore(0)
    house.hold()
    first, second = house.decode(idle, 1, 2, 3, 4), house.decode(busy, 5, 6, 7, 8)
    house.decoder.gate.set()
    first.result(10)
    second.result(10)
    assert [sorted(turn) for turn in house.decoder.turns[-4:]] == [[1, 5], [2, 6], [3, 7], [4, 8]]


def test_who_is_speaking_comes_first(make: Callable[..., House]) -> None:
    house = make(size=2)
    house.hold()
    first = house.decode(house.shared.seat(), 1, 2, 3)
    live = house.decode(house.shared.seat(urgent=True), 8, 9)
    house.decoder.gate.set()
    first.result(10)
    live.result(10)
    # One place of each turn is for who is not.
    assert [sorted(turn) for turn in house.decoder.turns[1:]] == [[1, 8], [2, 9], [3]]


def test_who_is_not_speaking_is_served_beside_four_who_are(make: Callable[..., House]) -> None:
    house = make(GatedDecoder(device="cuda"), size=4)
    house.hold()
    live = [house.decode(house.shared.seat(urgent=True), *range(10 * one, 10 * one + 5)) for one in range(1, 5)]
    job = house.decode(house.shared.seat(), 1, 2, 3)
    house.decoder.gate.set()
    assert job.result(10) == [1, 2, 3]
    for one in live:
        one.result(10)
    assert [sorted(turn)[0] for turn in house.decoder.turns[1:4]] == [1, 2, 3]


def test_where_a_turn_is_one_window_every_second_one_is_for_who_is_not_speaking(make: Callable[..., House]) -> None:
    house = make(size=1)
    house.hold()
    live = house.decode(house.shared.seat(urgent=True), 7, 8, 9)
    job = house.decode(house.shared.seat(), 1, 2)
    house.decoder.gate.set()
    assert (live.result(10), job.result(10)) == ([7, 8, 9], [1, 2])
    assert house.decoder.turns[1:] == [[7], [1], [8], [2], [9]]


def test_who_asks_for_something_else_than_who_is_speaking_has_the_next_turn(make: Callable[..., House]) -> None:
    house = make(GatedDecoder(device="cuda"), size=4)
    house.hold()
    live = house.decode(house.shared.seat(urgent=True), *range(10, 20))
    seat = house.shared.seat()
    asked = house.pool.submit(lambda: seat.languages(seat.encode([window(1)])))
    while not seat.waiting:
        threading.Event().wait(0.001)
    house.decoder.gate.set()
    asked.result(10)
    live.result(10)
    assert house.decoder.kinds == ["decode", "decode", "languages", "decode", "decode"]


def test_what_was_encoded_apart_is_decoded_again_together(make: Callable[..., House]) -> None:
    house = make(GatedDecoder(device="cuda"))
    house.decoder.gate.set()
    seats = [house.shared.seat() for _ in range(2)]
    encoded = [seat.encode([window(10 * number), window(10 * number + 1)]) for number, seat in enumerate(seats)]
    for seat, rows in zip(seats, encoded, strict=True):
        seat.decode(rows, [Request(())] * 2)
    house.decoder.gate.clear()
    house.decoder.begun = threading.Semaphore(0)
    house.hold()
    again = [
        house.pool.submit(seat.decode, seat.select(rows, [1]), [Request((5,), temperature=0.2)])
        for seat, rows in zip(seats, encoded, strict=True)
    ]
    while not all(seat.waiting for seat in seats):
        threading.Event().wait(0.001)
    house.decoder.gate.set()
    assert [future.result(10)[0].tokens for future in again] == [(1, 5), (11, 5)]
    assert sorted(house.decoder.turns[-1]) == [1, 11]
    assert len(house.decoder.encoded) == 3  # two, and the one that held the model: none of them twice


def test_only_what_is_alike_goes_into_one_call(make: Callable[..., House]) -> None:
    house = make()
    house.hold()
    seats = [house.shared.seat() for _ in range(4)]
    rows = [seat.encode([window(number)]) for number, seat in enumerate(seats)]
    futures = [
        house.pool.submit(seats[0].languages, rows[0]),
        house.pool.submit(seats[1].languages, rows[1]),
        house.pool.submit(seats[2].align, rows[2], [1], [[9]], [160]),
        house.pool.submit(seats[3].align, rows[3], [2], [[9]], [320]),
    ]
    while not all(seat.waiting for seat in seats):
        threading.Event().wait(0.001)
    house.decoder.gate.set()
    answers = [future.result(10) for future in futures]
    assert answers == [[{"sv": 0.0}], [{"sv": 1.0}], [(2.0, 160.0)], [(3.0, 320.0)]]
    assert sorted(house.decoder.kinds[1:]) == ["align [1]", "align [2]", "languages"]


def test_memory_that_is_too_small_halves_the_turns_of_all(make: Callable[..., House]) -> None:
    house = make(GatedDecoder(fits=16), size=8)
    house.hold()
    house.decoder.fits = 3
    asked = [house.decode(house.shared.seat(), 10 * n, 10 * n + 1) for n in range(1, 5)]
    house.decoder.gate.set()
    assert [future.result(10) for future in asked] == [[10 * n, 10 * n + 1] for n in range(1, 5)]
    assert max(len(turn) for turn in house.decoder.turns) == 2
    assert house.shared.turn == 2
    assert "memory too small for 8 windows at once" in house.notes[0]


def test_a_gpu_without_room_for_one_window_hands_over_to_the_cpu(make: Callable[..., House]) -> None:
    cpu = GatedDecoder()
    cpu.gate.set()
    house = make(GatedDecoder(device="cuda"), retreat=lambda: cpu)
    house.decoder.gate.set()
    seat = house.shared.seat()
    rows = seat.encode([window(1), window(2)])
    seat.decode(rows, [Request(())] * 2)
    house.decoder.fits = 0
    answers = seat.decode(rows, [Request(())] * 2)
    assert [one.tokens[0] for one in answers] == [1, 2]
    # The GPU's encoding is of no use to the CPU, which encodes one by one.
    assert house.decoder.encoded == [[1, 2]]
    assert cpu.encoded == [[1], [2]]
    assert seat.device == "cpu"


def test_a_window_the_model_cannot_do_sinks_no_other_job(make: Callable[..., House]) -> None:
    house = make()
    house.hold()
    good, bad, other = (house.decode(house.shared.seat(), number) for number in (1, POISON, 3))
    house.decoder.gate.set()
    assert good.result(10) == [1]
    assert other.result(10) == [3]
    with pytest.raises(EngineError, match="poison"):
        bad.result(10)


def test_a_cancelled_job_leaves_the_queue_at_once(make: Callable[..., House]) -> None:
    house = make()
    house.hold()
    given_up = threading.Event()
    seat = house.shared.seat(cancelled=given_up.is_set)
    asked = house.decode(seat, 1, 2, 3)
    given_up.set()
    house.shared.wake()
    with pytest.raises(CancelledError):
        asked.result(10)
    assert not seat.waiting
    house.decoder.gate.set()
    assert house.decode(house.shared.seat(), 5).result(10) == [5]
    assert house.decoder.turns == [[0], [5]]


def test_the_end_of_the_server_wakes_whoever_waits(make: Callable[..., House]) -> None:
    house = make()
    house.hold()
    asked = house.decode(house.shared.seat(), 1)
    closing = house.pool.submit(house.shared.close)
    with pytest.raises(CancelledError):
        asked.result(10)
    house.decoder.gate.set()
    closing.result(10)


def test_slow_turns_are_kept_short(make: Callable[..., House], monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = GatedDecoder()
    decoder.gate.set()
    seconds = iter(range(0, 1000, 2))
    shared = SharedDecoder(Room(decoder, 16, GatedDecoder, lambda _: None), clock=lambda: float(next(seconds)))
    monkeypatch.setattr(shared_module, "LONGEST_TURN", 12.0)
    seat = shared.seat()
    assert shared.turn == 16
    seat.decode(seat.encode([window(1)]), [Request(())])  # two seconds for one window
    shared.close()
    assert shared.turn == 6


def test_any_number_of_jobs_each_get_their_own_answers_in_order(make: Callable[..., House]) -> None:
    house = make(GatedDecoder(fits=5), size=8)
    house.decoder.gate.set()

    def job(number: int) -> bool:
        draw = random.Random(number)
        seat = house.shared.seat()
        for _ in range(draw.randrange(1, 6)):
            numbers = [1000 * number + place for place in range(draw.randrange(1, 9))]
            rows = seat.encode([window(one) for one in numbers])
            requests = [Request((draw.randrange(9),)) for _ in numbers]
            answers = seat.decode(rows, requests)
            if [one.tokens for one in answers] != [(n, *r.prompt) for n, r in zip(numbers, requests, strict=True)]:
                return False
            if seat.languages(rows[:1]) != [{"sv": float(numbers[0])}]:
                return False
        seat.close()
        return True

    assert all(house.pool.map(job, range(1, 40), timeout=60))
    assert max(len(turn) for turn in house.decoder.turns) > 1
