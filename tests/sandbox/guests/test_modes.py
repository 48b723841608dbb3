"""The weaker walls, for machines where the best ones can't be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gputx.sandbox.guests import GuestHost, free_address

from .conftest import PORT, Room, eventually, processes_with

LOOP = "while :; do sleep 1.25; done"
LEFT = "time.sleep(1000)  # left"


def can_make_user_namespaces() -> bool:
    probe = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "true"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def other_users_can_run_this_python() -> bool:
    drop = ["setpriv", "--reuid=1000000000", "--regid=1000000000", "--clear-groups"]
    other = [*drop, "sh", "-c", 'exec "$0" -c pass', sys.executable]
    try:
        return subprocess.run(other, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(
    params=[
        "process",
        pytest.param(
            "user",
            marks=pytest.mark.skipif(
                os.geteuid() != 0 or not other_users_can_run_this_python(),
                reason="not root, or no other user can run this Python",
            ),
        ),
        pytest.param(
            "user-namespace",
            marks=pytest.mark.skipif(not can_make_user_namespaces(), reason="no user namespaces here"),
        ),
    ]
)
def room(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Room]:
    room = Room(tmp_path, isolation=request.param)
    yield room
    room.host.close()


def test_a_guest_boots_works_and_ends_in_every_mode(room: Room) -> None:
    machine = room.boot("#cloud-config\nwrite_files:\n- {path: /opt/transcribe/note, content: hej}\n")
    root = 'cat "${TRANSCRIBE_ROOT:-/opt/transcribe}/note"'
    assert machine.run(root).out == "hej"
    python = '"${TRANSCRIBE_ROOT:-/opt/transcribe}/venv/bin/python"'
    assert machine.run(f"{python} -c 'print(6 * 7)'").out == "42\n"
    with machine.connect() as client, client.open_sftp() as sftp:
        sftp.put(__file__, "copy.py")
        assert machine.run("cat copy.py").out == Path(__file__).read_text()
    machine.run("sleep 0.1; date")
    machine.run(f"nohup setsid sh -c 'trap \"\" TERM; {LOOP}' >/dev/null 2>&1 </dev/null &")
    machine.run("sudo shutdown -h +30")
    room.turn(3600)
    assert machine.power() == "off"
    machine.guest.join()
    assert processes_with(LOOP) == []


def test_everything_dies_with_the_daemon_even_by_kill_9(room: Room, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"""
import time
from pathlib import Path
from gputx.sandbox.guests import GuestHost, GuestSpec
directory, clock = Path({str(tmp_path / "daemon")!r}), Path({str(room.clock)!r})
host = GuestHost(directory, clock_file=clock, isolation={room.mode!r})
script = b"#!/bin/sh\\ntrap '' TERM HUP\\npython3 -c 'import time; {LEFT}'\\n"
spec = GuestSpec("i-1", {free_address((), PORT)!r}, {PORT}, (), script, {{}})
host.boot(spec, image=Path({str(room.image)!r}), on_power=print)
time.sleep(1000)
""")
    temporary = Path(tempfile.gettempdir())
    before = set(temporary.glob("gputx-guests-*"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    daemon = subprocess.Popen([sys.executable, str(program)], env=environment)
    try:
        eventually(lambda: processes_with(LEFT), "the guest's process")
    finally:
        daemon.kill()
        daemon.wait()
    eventually(lambda: not processes_with(LEFT), "the end of the guest's process")
    for left in set(temporary.glob("gputx-guests-*")) - before:
        shutil.rmtree(left)  # a daemon that is killed can't remove what it put there


def test_a_process_guest_keeps_its_files_in_its_own_directory(tmp_path: Path) -> None:
    room = Room(tmp_path, isolation="process")
    try:
        machine = room.boot()
        assert machine.run("pwd").out.strip() == str(machine.disk / "home/ubuntu")
        with machine.connect() as client, client.open_sftp() as sftp, pytest.raises(PermissionError):
            sftp.stat("/etc/passwd")
    finally:
        room.host.close()


def test_the_best_mode_is_found_by_trying(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0\n")
    host = GuestHost(tmp_path, clock_file=clock)
    assert host.isolation in {"namespace", "user-namespace", "user", "process"}
    host.close()


def test_addresses_are_free_and_loopback() -> None:
    first = free_address((), PORT)
    assert first.startswith("127.")
    assert free_address({first}, PORT) != first


def test_a_port_that_is_taken_is_told_and_halts(room: Room) -> None:
    machine = room.boot()
    clash = replace(machine.spec, instance_id="i-clash")
    powers: list[str] = []
    guest = room.host.boot(clash, image=room.image, on_power=powers.append)
    guest.join()
    assert powers == ["halt"]
    assert "did not start" in guest.console()
    assert machine.run("true").status == 0
