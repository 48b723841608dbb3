"""Off, halt, reboot, on the sandbox's clock; and what is left afterwards: nothing that runs."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gputx.sandbox.guests.machine.power import shutdown_time
from gputx.sandbox.state import StateDirectory

from .conftest import PORT, Booted, Room, eventually

HOUR = 3600
NOON = 1_700_049_600.0  # 2023-11-15T12:00:00Z


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Room]:
    """A room whose clock a test may turn without its neighbours noticing."""
    room = Room(tmp_path)
    yield room
    room.host.close()


def refused(machine: Booted) -> bool:
    try:
        socket.create_connection((machine.spec.address, PORT), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("sudo shutdown -h now", "off"),
        ("sudo shutdown -P +0", "off"),
        ("sudo /sbin/shutdown now", "off"),
        ("sudo poweroff", "off"),
        ("sudo systemctl poweroff -i", "off"),
        ("sudo halt -p", "off"),
        ("sudo init 0", "off"),
        ("sudo telinit 0", "off"),
        ("sudo shutdown -h 0", "off"),
        ("sudo halt", "halt"),
        ("sudo shutdown -H now", "halt"),
        ("sudo systemctl halt", "halt"),
    ],
)
def test_the_os_can_end_itself(room: Room, command: str, kind: str) -> None:
    machine = room.boot()
    machine.run(f"nohup sleep 1000 >/dev/null 2>&1 & {command}; sleep 60")
    assert machine.power() == kind
    machine.guest.join()
    assert refused(machine)


def test_power_needs_root(machine: Booted) -> None:
    result = machine.run("shutdown -h now")
    assert result.status == 1
    assert "Interactive authentication required" in result.err
    assert machine.run("echo still here").out == "still here\n"


@pytest.mark.parametrize("wrong", ["shutdown -h soon", "shutdown +x", "shutdown 25:00", "poweroff --now", "init 3"])
def test_wrong_arguments_are_refused(machine: Booted, wrong: str) -> None:
    assert machine.run(f"sudo {wrong}").status == 1


def test_other_units_are_refused_honestly(machine: Booted) -> None:
    result = machine.run("sudo systemctl enable --now amazon-cloudwatch-agent")
    assert result.status == 1
    assert "not been booted with systemd" in result.err


def test_turning_the_clock_makes_a_scheduled_shutdown_fire(clocked: Room) -> None:
    machine = clocked.boot("#cloud-boothook\n#!/bin/sh\nshutdown -h +120\n")
    clocked.turn(1.9 * HOUR)
    assert machine.run("true").status == 0
    clocked.turn(2.1 * HOUR)
    assert machine.power() == "off"


def test_a_scheduled_shutdown_can_be_cancelled(clocked: Room) -> None:
    machine = clocked.boot("#cloud-boothook\n#!/bin/sh\nshutdown -h +10\n")
    assert machine.run("sudo shutdown -c").status == 0
    clocked.turn(HOUR)
    eventually(lambda: int(machine.run("date +%s").out) > time.time() + HOUR - 5, "the new time")
    assert machine.run("true").status == 0
    assert machine.powers.empty()


def test_a_bare_number_is_minutes_and_what_is_scheduled_is_shown(clocked: Room) -> None:
    machine = clocked.boot()
    assert machine.run("sudo shutdown --show").status == 1
    assert machine.run("sudo shutdown -h 120").status == 0
    due = time.strftime("%Y-%m-%d %H:", time.gmtime(time.time() + 2 * HOUR))
    assert f"Shutdown scheduled for {time.strftime('%a', time.gmtime(time.time() + 2 * HOUR))} {due}" in (
        machine.run("shutdown --show").out
    )
    machine.run("sudo shutdown -c")
    assert machine.run("shutdown --show").status == 1
    machine.run("sudo shutdown 10")
    clocked.turn(601)
    assert machine.power() == "off"


def test_leading_zeros_of_a_sleep_are_decimal(clocked: Room) -> None:
    machine = clocked.boot()
    machine.run("for n in 08 010m 09.5 000; do nohup sleep $n >/dev/null 2>errors </dev/null & done; sleep 0.3")
    due = clocked.host.settle(boots=True)
    assert due is not None
    assert due < time.time() + 8
    clocked.turn(500)
    assert clocked.host.settle(boots=True) == pytest.approx(time.time() + 600, abs=30)
    assert machine.run("cat errors").out == ""


def test_sleep_and_date_are_on_the_sandbox_s_clock(clocked: Room) -> None:
    machine = clocked.boot()
    machine.run("nohup sh -c 'sleep 2h; date -u +%s > woken' >/dev/null 2>&1 </dev/null &")
    clocked.host.settle(boots=True)  # the sleep has begun
    clocked.turn(2 * HOUR + 1)
    woken = machine.disk / "home/ubuntu/woken"
    eventually(lambda: woken.exists() and woken.read_text(), "the end of the sleep")
    assert abs(int(woken.read_text()) - (time.time() + 2 * HOUR)) < 10
    later = machine.run("date -u -d '+2 hours' +%s; date -u -d @0 +%Y; /bin/date +%s").out.split()
    assert abs(int(later[0]) - (time.time() + 4 * HOUR)) < 10
    assert later[1] == "1970"
    assert abs(int(later[2]) - (time.time() + 2 * HOUR)) < 10


def test_short_sleeps_take_their_time(machine: Booted) -> None:
    start = time.monotonic()
    assert machine.run("sleep 0.3; /bin/sleep 0.2s").status == 0
    assert time.monotonic() - start > 0.5
    assert machine.run("sleep nonsense").status == 1


def test_a_reboot_keeps_the_disk_and_runs_only_boothooks_again(room: Room) -> None:
    machine = room.boot(
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        b"--b\nContent-Type: text/cloud-boothook\n\n#cloud-boothook\n#!/bin/sh\necho hook >> /var/hook\n"
        b"--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho once >> /var/once\n--b--\n"
    )
    machine.run("sync; echo kept > kept")
    key = machine.run("cat /etc/ssh/ssh_host_ed25519_key.pub").out
    eventually(lambda: "Cloud-init finished" in machine.guest.console(), "cloud-init")
    machine.run("sudo reboot; sleep 60")
    machine.wait_for_ssh(boots=2)
    assert machine.run("cat kept /var/hook").out == "kept\nhook\nhook\n"
    eventually(lambda: machine.guest.console().count("Cloud-init finished") == 2, "cloud-init")
    assert machine.run("cat /var/once").out == "once\n"
    assert machine.run("cat /etc/ssh/ssh_host_ed25519_key.pub").out == key
    assert machine.powers.empty()


def test_a_stopped_guest_starts_again_from_its_own_disk(room: Room) -> None:
    machine = room.boot()
    machine.run("echo kept > kept")
    machine.guest.shutdown()
    again = room.boot(again=machine, wait=False)
    again.wait_for_ssh(boots=2)
    assert again.run("cat kept").out == "kept\n"


def test_shutdown_from_outside_lets_processes_clean_up_and_is_not_reported(room: Room) -> None:
    machine = room.boot()
    machine.run(
        "nohup sh -c 'trap \"touch cleaned; exit\" TERM; touch ready; sleep 100 & wait' >/dev/null 2>&1 </dev/null &"
    )
    eventually((machine.disk / "home/ubuntu/ready").exists, "the trap")
    machine.guest.shutdown()
    machine.guest.shutdown()
    machine.guest.join()
    assert (machine.disk / "home/ubuntu/cleaned").exists()
    assert refused(machine)
    assert machine.powers.empty()


def test_what_ignores_sigterm_dies_all_the_same(room: Room) -> None:
    machine = room.boot("#!/bin/sh\ntrap '' TERM\ntouch /var/deaf\nwhile :; do sleep 100; done\n")
    eventually((machine.disk / "var/deaf").exists, "the script")
    start = time.monotonic()
    machine.guest.shutdown()
    machine.guest.join()
    assert time.monotonic() - start < 5


def test_deleting_the_disk_leaves_nothing(room: Room) -> None:
    machine = room.boot()
    deep = "import os\nfor n in range(3000): os.mkdir('d'); os.chdir('d')"
    assert machine.run("mkdir -p a/b; chmod 0 a; mkdir deep; cd deep; python3 -", stdin=deep.encode()).status == 0
    machine.guest.shutdown()
    machine.guest.delete_disk()
    assert not machine.disk.parent.exists()
    eventually(lambda: not list(machine.disk.parent.parent.glob(".discarded-*")), "the end of the disk")


def test_a_new_daemon_clears_a_tree_of_any_depth(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.guests.mkdir()
    deep = "import os, sys\nos.chdir(sys.argv[1])\nfor n in range(3000): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", deep, str(state.guests)], check=True)
    state.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_boots_as_another_instance(room: Room, tmp_path: Path) -> None:
    machine = room.boot("#!/bin/sh\necho first > /var/baked\n")
    eventually((machine.disk / "var/baked").exists, "the script")
    room.host.snapshot(machine.spec.instance_id, tmp_path / "image")
    other = room.boot("#!/bin/sh\necho second >> /var/baked\n", image=tmp_path / "image")
    eventually(lambda: "Cloud-init finished" in other.guest.console(), "cloud-init")
    assert other.run("cat /var/baked").out == "first\nsecond\n"
    keys = {booted.run("cat /etc/ssh/ssh_host_ed25519_key.pub").out for booted in (machine, other)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("now", NOON),
        ("+90", NOON + 5400),
        ("12:30", NOON + 1800),
        ("11:59", NOON + 86340),
        ("9:05", NOON + 75900),
    ],
)
def test_shutdown_times(when: str, expected: float) -> None:
    assert shutdown_time(when, NOON) == expected


@pytest.mark.parametrize("when", ["", "+", "soon", "24:61", "+-3"])
def test_times_that_are_none(when: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - datetime words its own
        shutdown_time(when, NOON)
