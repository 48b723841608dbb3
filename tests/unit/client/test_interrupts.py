"""Signals only set a flag: the work is never broken into, and its clean-up always runs to its end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from gputx.clock import Stop, SystemClock
from gputx.errors import InterruptedBySignal
from gputx.lease.interrupts import SIGNALS, supervise


def test_what_the_work_returns_or_raises_comes_back() -> None:
    assert supervise(lambda _: 7, on_signal=lambda *_: None) == 7
    with pytest.raises(ZeroDivisionError):
        supervise(lambda _: 1 / 0, on_signal=lambda *_: None)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_wakes_whatever_waits_and_carries_its_exit_code(number: signal.Signals) -> None:
    heard: list[tuple[int, int]] = []

    def work(stop: Stop) -> None:
        os.kill(os.getpid(), number)
        SystemClock().sleep(30, stop)

    before = signal.getsignal(number)
    with pytest.raises(InterruptedBySignal) as caught:
        supervise(work, on_signal=lambda *both: heard.append(both))
    assert caught.value.exit_code == 128 + number
    assert heard == [(number, 1)]
    assert signal.getsignal(number) is before


def test_one_more_signal_does_not_cut_off_the_last_words() -> None:
    program = (
        "import os, signal, sys; from gputx.lease.interrupts import supervise\n"
        "supervise(lambda _: None, on_signal=lambda *_: None, last=True)\n"
        "os.kill(os.getpid(), signal.SIGINT); print('told', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGINT); print('never')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("told\n", "", -signal.SIGINT)


def test_signals_at_random_moments_never_break_a_clean_up() -> None:
    """The design's own figure: flag-only handlers leaked 0 of 300 launches; try/finally leaked up to 86 %."""
    draw = random.Random(20261120)
    for _ in range(30):
        table = Table()
        shots = [draw.choice(SIGNALS) for _ in range(draw.choice([1, 2, 5]))]
        shooter = threading.Thread(target=shoot, args=(draw.random() * 0.015, shots))

        def work(stop: Stop, table: Table = table, shooter: threading.Thread = shooter) -> None:
            shooter.start()
            try:
                table.launch(stop)
            finally:
                table.end()
                shooter.join()

        with contextlib.suppress(InterruptedBySignal):
            supervise(work, on_signal=lambda *_: None)
        assert (table.made, table.ended) == (1, 1)


class Table:
    """An account with one instance: making it and ending it both take a while."""

    made = ended = 0

    def launch(self, stop: Stop) -> None:
        self.made += 1
        for _ in range(50):
            stop.check()
            time.sleep(0.0002)

    def end(self) -> None:
        time.sleep(0.002)
        self.ended += 1


def shoot(delay: float, shots: list[signal.Signals]) -> None:
    time.sleep(delay)
    for number in shots:
        os.kill(os.getpid(), number)
