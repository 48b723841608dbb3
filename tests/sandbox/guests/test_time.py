"""Guests and the clock: what a turn makes due has happened when it is answered, and nobody is waited for in vain."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gputx.sandbox.guests.answers import Answers, reports

from .conftest import Booted, Room

HOUR = 3600


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.host.close()


def first_process(machine: Booted) -> int:
    """The guest's init, as this machine numbers it; where there are walls, it is the child of what built them."""
    outer = machine.guest._process.pid  # type: ignore[union-attr]
    if machine.host.isolation in {"user", "process"}:
        return outer
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(outer)], capture_output=True, text=True, check=True)
    return int(listing.stdout.split()[0])


def test_a_turn_is_answered_when_what_it_woke_has_done_its_work(clocked: Room) -> None:
    machine = clocked.boot()
    loop = "for n in 1 2 3; do sleep 1h; echo $n >>woken; done"
    machine.run(f"nohup sh -c '{loop}' >/dev/null 2>&1 </dev/null & sleep 0.2")
    for hour in (1, 2, 3):
        due = clocked.host.settle(boots=True)
        assert due == pytest.approx(time.time() + hour * HOUR, abs=30)
        clocked.turn(hour * (HOUR + 10))
        clocked.host.settle(boots=True)
        assert (machine.disk / "home/ubuntu/woken").read_text().count("\n") == hour
    assert clocked.host.settle(boots=True) is None


def test_the_end_of_a_guest_is_waited_for_and_told(clocked: Room) -> None:
    machine = clocked.boot("#cloud-boothook\n#!/bin/sh\nshutdown -h +5\n")
    clocked.turn(301)
    assert clocked.host.settle(boots=True) is None
    assert machine.powers.get_nowait() == "off"
    assert machine.guest.down


def test_a_boot_is_waited_for_on_demand(clocked: Room) -> None:
    machine = clocked.boot("#cloud-boothook\n#!/bin/sh\nshutdown -h +5\n", wait=False)
    assert clocked.host.settle(boots=False) is None
    assert clocked.host.settle(boots=True) == pytest.approx(time.time() + 300, abs=30)
    machine.wait_for_ssh()


def test_a_boot_hook_that_sleeps_is_not_waited_out(clocked: Room) -> None:
    machine = clocked.boot("#cloud-boothook\n#!/bin/sh\nsleep 1h\n", wait=False)
    begun = time.monotonic()
    assert clocked.host.settle(boots=True) == pytest.approx(time.time() + HOUR, abs=30)
    assert time.monotonic() - begun < 4
    clocked.turn(HOUR + 10)
    machine.wait_for_ssh()


def test_a_guest_that_does_not_answer_is_waited_for_once_and_hears_of_the_time_later(clocked: Room) -> None:
    machine = clocked.boot("#cloud-boothook\n#!/bin/sh\nshutdown -h +5\n")
    first = first_process(machine)
    os.kill(first, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        # More questions than the pipe to it can take.
        for offset in range(10, 2010):
            clocked.turn(offset / 10)
            clocked.host.settle(boots=True)
        assert time.monotonic() - begun < 10
    finally:
        os.kill(first, signal.SIGCONT)
    clocked.turn(301)
    assert machine.power() == "off"


def test_what_is_no_report_is_noise() -> None:
    noise = b"{nonsense\n" + b"[" * 5000 + b"\n17\n\xff\n" + b"x" * 10_000_000 + b"\n"
    heard = list(reports(io.BytesIO(noise + b'{"power": "off"}\n')))
    assert heard == [{"power": "off"}]


@pytest.mark.parametrize("due", ["soon", float("nan"), float("inf"), [1], None])
def test_strange_answers_are_no_times(due: object) -> None:
    answers = Answers()
    answers.enter("up")
    answers.hear({"clock": answers.ask(), "due": due})
    assert answers.wait(boots=False) is None


def test_an_answer_to_another_question_is_none() -> None:
    answers = Answers()
    number = answers.ask()
    for wrong in (number + 1, -1, "1", None):
        answers.hear({"clock": wrong, "due": 5.0})
    answers.enter("down")
    assert answers.wait(boots=True) is None
