"""Nothing a guest runs may reach this machine, and nothing of it may outlive it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from .conftest import Booted, Room, eventually, processes_with

MARK = "gputx-guest-mark"


@pytest.fixture(autouse=True)
def walled(room: Room) -> None:
    if room.host.isolation in {"user", "process"}:
        pytest.skip("no namespaces here; test_modes covers what is left")


def test_killing_everything_kills_nothing_outside(machine: Booted) -> None:
    outside = subprocess.Popen(["sleep", "60"])
    try:
        machine.run("kill -9 -1; sudo kill -9 1; kill -STOP -1")
        assert outside.poll() is None
        assert machine.run("echo sshd answers").out == "sshd answers\n"
    finally:
        outside.kill()
        outside.wait()


def test_deleting_everything_deletes_nothing_outside(room: Room) -> None:
    machine = room.boot()
    before = sorted(entry.name for entry in Path("/usr/bin").iterdir())
    machine.run("sudo rm -rf /usr/bin /etc /opt /var /home /.guest /bin 2>/dev/null")
    assert sorted(entry.name for entry in Path("/usr/bin").iterdir()) == before
    assert Path(sys.executable).exists()
    assert (room.image / "opt/transcribe/manifest.json").exists()
    assert not (machine.disk / "opt/transcribe/manifest.json").exists()


def test_this_machine_s_files_are_not_there(machine: Booted, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host only")
    ours = Path(__file__).parents[3] / "pyproject.toml"
    for path in (secret, ours, Path.home() / ".aws", Path("/etc/shadow"), machine.key):
        assert machine.run(f"sudo cat '{path}' || sudo ls '{path}'").status != 0
    assert machine.run("ls /proc | grep -c '^[0-9]*$'").out.strip().isdigit()
    assert str(os.getpid()) not in machine.run("ls /proc").out.split()


@pytest.mark.parametrize("path", ["/usr/bin/ours", "/.guest/bin/shutdown", "/proc/sys/kernel/hostname"])
def test_what_is_shared_can_t_be_written(machine: Booted, path: str) -> None:
    assert machine.run(f"sudo sh -c 'echo x > {path}'").status != 0


def test_mounts_can_t_be_undone(machine: Booted) -> None:
    for command in (
        "umount /usr",
        "mount -o remount,rw /usr",
        "mount -t tmpfs none /mnt",
        "mknod /tmp/disk b 254 0",
    ):
        assert machine.run(f"sudo {command}").status != 0


def test_sudo_and_its_kin_run_the_command_as_the_user_asked_for(machine: Booted) -> None:
    show = "sh -c 'echo $USER $HOME $A'"
    assert machine.run(f"sudo -n -E A=1 {show}").out == "root /root 1\n"
    assert machine.run(f"sudo -u ubuntu -- {show}").out == "ubuntu /home/ubuntu\n"
    assert machine.run(f"runuser -u ubuntu -- {show}").out == "ubuntu /home/ubuntu\n"
    assert machine.run("sudo su - ubuntu -c 'pwd; echo $USER'").out == "/home/ubuntu\nubuntu\n"
    assert machine.run("sudo -i pwd").out == "/root\n"
    assert machine.run("sudo -u postgres true").status == 1


def test_who_is_root_is_told_so(machine: Booted) -> None:
    assert machine.run("sudo id -u; sudo id -un; sudo id -g; sudo id; sudo whoami").out == (
        "0\nroot\n0\nuid=0(root) gid=0(root) groups=0(root)\nroot\n"
    )
    assert machine.run("id -un; whoami; sudo -u ubuntu id -un; sudo id -un ubuntu").out == "ubuntu\n" * 4
    assert machine.run("id -u").out != "0\n"


def test_the_first_process_can_t_be_got_at(machine: Booted) -> None:
    steal = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
number = libc.syscall(438, os.pidfd_open(1), 1, 0)
print(number if number < 0 else os.write(number, b"{nonsense" + bytes([10])))
try:
    print(os.listdir("/proc/1/fd"))
except PermissionError:
    print("refused")
"""
    assert machine.run("python3 -", stdin=steal.encode()).out == "-1\nrefused\n"


def test_a_guest_can_t_take_all_there_is(machine: Booted) -> None:
    assert int(machine.run("ulimit -u").out) <= 2048
    assert machine.run("ulimit -f").out != "unlimited\n"
    sizes = machine.run("df -k --output=size /dev/shm /run | tail -n +2").out.split()
    assert [int(size) // 1024 for size in sizes] == [256, 16]


def test_each_guest_is_a_user_of_its_own(room: Room, machine: Booted) -> None:
    if room.host.isolation != "namespace":
        pytest.skip("within a user namespace all are 1000")
    other = room.boot()
    assert machine.run("id -u").out != other.run("id -u").out
    assert other.run("touch /run/mine && stat -c %U /run/mine").out == "ubuntu\n"


def test_a_guest_s_network_has_one_way_out(room: Room, machine: Booted) -> None:
    if not room.host._isolation.own_network:
        pytest.skip("no network namespaces here")
    dial = """
import socket, sys
for address in (("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", int(sys.argv[2])), sys.argv[3]):
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as s:
        try:
            s.connect("\\0" + address if isinstance(address, str) else address)
            s.sendall(b"ping")
            s.shutdown(socket.SHUT_WR)
            print(s.makefile().read())
        except OSError as error:
            print(type(error).__name__)
"""
    with (
        socket.create_server(("127.0.0.1", 0)) as account,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind("\0" + MARK)
        abstract.listen()
        threading.Thread(target=_echo, args=(account,), daemon=True).start()
        room.host.lead_to(account.getsockname())
        try:
            guest = room.boot()
        finally:
            room.host._way_out = None
        ports = [str(end.getsockname()[1]) for end in (account, other)]
        found = guest.run(f"python3 - {' '.join(ports)} {MARK}", stdin=dial.encode()).out
    assert found == "got ping\nConnectionRefusedError\nConnectionRefusedError\n"
    # What was booted without an account to talk to has no way out at all.
    assert "ConnectionRefusedError" in machine.run(f"python3 - {' '.join(ports)} {MARK}", stdin=dial.encode()).out


def _echo(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"got " + connection.makefile("rb").read())


def test_the_metadata_service_is_where_it_is_in_ec2(room: Room, machine: Booted) -> None:
    if not room.host._isolation.own_network:
        pytest.skip("no network namespaces here")
    ask = (
        "import urllib.request as r; print(r.urlopen(r.Request('http://169.254.169.254/latest/api/token', method='PUT',"
        "headers={'X-aws-ec2-metadata-token-ttl-seconds': '60'})).status)"
    )
    assert machine.run(f'python3 -c "{ask}"').out == "200\n"


def test_a_report_that_breaks_the_daemon_s_ear_is_a_halt(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = room.boot()

    def broken(report: object) -> bool:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(machine.guest._answers, "hear", broken)
    machine.guest.set_clock(0.0)
    assert machine.power() == "halt"
    assert "is broken: no such thing" in machine.guest.console()


def test_the_environment_is_clean(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", MARK)
    machine = room.boot("#!/bin/sh\nenv\n")
    eventually(lambda: "Cloud-init finished" in machine.guest.console(), "cloud-init")
    environment = machine.run("env").out
    assert MARK not in environment + machine.guest.console()
    assert "HOME=/home/ubuntu\n" in environment
    assert "LANG=C.UTF-8\n" in environment
    assert "HOME=/root\n" in machine.guest.console()


def test_the_image_s_python_has_what_the_payload_imports(machine: Booted) -> None:
    python = "/opt/transcribe/venv/bin/python"
    found = machine.run(
        f"{python} -c 'import importlib.util as u, json;"
        'print(json.dumps([u.find_spec(n) is not None for n in ("torch", "transformers")]))\''
    )
    assert json.loads(found.out) == [True, True]
    manifest = json.loads(machine.run("cat /opt/transcribe/manifest.json").out)
    assert manifest["contract"] == 1
    assert manifest["model"]["id"] == "gputx/tiny-sv"


def test_a_link_on_the_disk_does_not_lead_the_next_boot_out_of_it(room: Room, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    machine = room.boot()
    machine.run(f"mv /sys /was; ln -s {victim} /sys; sudo reboot; sleep 60")
    assert machine.power() == "halt"
    assert "not where it should be" in machine.guest.console()
    assert list(victim.iterdir()) == []


def test_everything_dies_with_the_instance(room: Room) -> None:
    machine = room.boot()
    machine.run(f"setsid nohup python3 -c 'import time; time.sleep(1000)  # {MARK}-a' >/dev/null 2>&1 </dev/null &")
    eventually(lambda: processes_with(f"{MARK}-a"), "the process")
    machine.guest.shutdown()
    machine.guest.join()
    assert processes_with(f"{MARK}-a") == []


def test_a_first_process_that_dies_is_a_halt(room: Room) -> None:
    machine = room.boot()
    machine.guest._process.kill()  # type: ignore[union-attr]
    assert machine.power() == "halt"
    assert "the machine died" in machine.guest.console()
