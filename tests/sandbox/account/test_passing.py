"""``advance`` is time passing: for the control plane and for what runs in the guests, in the right order."""

from __future__ import annotations

import itertools
import shutil
import time

import pytest

from .lab import PENDING, SHUTTING_DOWN, Lab

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs an OpenSSH client")
MINUTE = 60.0
HOOK = "#cloud-boothook\n#!/bin/sh\n"


def test_a_guest_that_powers_itself_off_is_terminated_when_it_was_due(lab: Lab) -> None:
    instance_id = lab.boot(UserData=HOOK + "shutdown -h +5\n")
    running = lab.row(instance_id)["since"]["running"]
    lab.account.advance(15 * MINUTE)
    row = lab.row(instance_id)
    assert row["state"] == "terminated"
    assert row["since"]["shutting-down"] - running == pytest.approx(5 * MINUTE, abs=10)
    ended = row["since"]["terminated"] - row["since"]["shutting-down"]
    assert ended == pytest.approx(SHUTTING_DOWN, abs=10)


def test_one_turn_from_the_launch_to_after_the_end(lab: Lab) -> None:
    instance_id = lab.launch(UserData=HOOK + "shutdown -h +5\n")
    lab.account.advance(PENDING + 5 * MINUTE + SHUTTING_DOWN + 5 * MINUTE)
    row = lab.row(instance_id)
    assert row["state"] == "terminated"
    assert row["since"]["shutting-down"] - row["since"]["running"] == pytest.approx(5 * MINUTE, abs=10)


def test_a_loop_that_sleeps_wakes_as_often_as_it_would_have(lab: Lab) -> None:
    instance_id = lab.boot()
    loop = "for n in 1 2 3 4 5 6 7 8 9 10; do sleep 60; date -u +%s >>woken; done; sudo shutdown -h now"
    assert (
        lab.ssh(instance_id, f"date -u +%s >woken; nohup sh -c '{loop}' >/dev/null 2>&1 </dev/null &").returncode == 0
    )
    lab.account.advance(9.5 * MINUTE)
    woken = [int(line) for line in lab.ssh(instance_id, "cat woken").stdout.split()]
    assert len(woken) == 10
    assert all(55 <= later - earlier <= 70 for earlier, later in itertools.pairwise(woken))
    begun = time.monotonic()
    lab.account.advance(5 * MINUTE)
    assert time.monotonic() - begun < 10
    assert lab.state(instance_id) == "shutting-down"
