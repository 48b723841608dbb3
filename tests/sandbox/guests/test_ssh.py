"""sshd as people and paramiko know it."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from pathlib import Path

import asyncssh
import paramiko
import pytest

from .conftest import PORT, Booted, Room, eventually


def options(machine: Booted) -> list[str]:
    return [
        *("-i", str(machine.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-F", "none"),
    ]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program} here")


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(7).randbytes(8 * 1024 * 1024 + 13)


def test_exit_status_and_both_streams_arrive(machine: Booted) -> None:
    result = machine.run("echo out; echo err >&2; exit 3")
    assert (result.status, result.out, result.err) == (3, "out\n", "err\n")


def test_stdin_ends_where_the_client_ends_it(machine: Booted) -> None:
    assert machine.run("wc -c", stdin=b"x" * 300_000).out.strip() == "300000"


def test_a_large_stream_goes_there_and_back_unharmed(machine: Booted, data: bytes) -> None:
    with machine.connect() as client:
        stdin, stdout, _ = client.exec_command("sha256sum; head -c 3000000 /dev/zero")
        stdin.write(data)
        stdin.channel.shutdown_write()
        answer = stdout.read()
    assert answer.startswith(hashlib.sha256(data).hexdigest().encode())
    assert answer.count(b"\0") == 3_000_000


def test_a_process_that_ignores_its_stdin_does_not_hang_the_session(machine: Booted) -> None:
    with machine.connect() as client:
        stdin, stdout, _ = client.exec_command("exit 4")
        assert stdout.channel.recv_exit_status() == 4
        stdin.close()


def test_a_process_ended_by_a_signal_is_reported_as_such(machine: Booted) -> None:
    assert machine.run("kill -KILL $$").status == -1


def test_a_background_process_outlives_its_session(machine: Booted) -> None:
    machine.run("(sleep 0.2; touch outlived) >/dev/null 2>&1 </dev/null &")
    eventually((machine.disk / "home/ubuntu/outlived").exists, "the background process")


def test_only_the_image_s_login_with_the_right_key_comes_in(machine: Booted) -> None:
    for user in ("root", "admin"):
        with pytest.raises(paramiko.AuthenticationException):
            machine.connect(user)
    other = paramiko.RSAKey.generate(2048)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    with pytest.raises(paramiko.AuthenticationException):
        client.connect(machine.spec.address, PORT, "ubuntu", pkey=other, allow_agent=False, look_for_keys=False)
    client.close()


def test_sftp_puts_gets_lists_and_renames(machine: Booted, data: bytes, tmp_path: Path) -> None:
    source = tmp_path / "tal.bin"
    source.write_bytes(data)
    with machine.connect() as client, client.open_sftp() as sftp:
        sftp.mkdir("in")
        sftp.put(str(source), "in/röst 'å' 1.bin")
        sftp.rename("in/röst 'å' 1.bin", "in/two")
        assert sftp.normalize("in") == "/home/ubuntu/in"
        assert [(entry.filename, entry.st_size) for entry in sftp.listdir_attr("in")] == [("two", len(data))]
        sftp.get("/home/ubuntu/in/two", str(tmp_path / "back"))
        with pytest.raises(OSError, match="No such file"):
            sftp.stat("/no/such/thing")
    assert (tmp_path / "back").read_bytes() == data


def test_a_terminal_has_a_size_and_hangs_up(machine: Booted) -> None:
    with machine.connect() as client:
        channel = client.get_transport().open_session()  # type: ignore[union-attr]
        channel.get_pty("xterm", 91, 31)
        channel.exec_command("trap 'touch ~/hung-up' HUP; stty size; echo $TERM; sleep 30 & wait")
        seen = b""
        while b"xterm" not in seen:
            seen += channel.recv(1000)
        assert b"31 91" in seen
    eventually((machine.disk / "home/ubuntu/hung-up").exists, "SIGHUP")


@needs("ssh")
def test_openssh_runs_commands(machine: Booted) -> None:
    ssh = ["ssh", *options(machine), "-p", str(PORT), f"ubuntu@{machine.spec.address}"]
    done = subprocess.run([*ssh, "cat; exit 5"], check=False, input=b"hej", capture_output=True, timeout=20)
    assert (done.returncode, done.stdout) == (5, b"hej")


@needs("sftp")
def test_openssh_sftp_moves_files(machine: Booted, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(data)
    batch = f"put {tmp_path}/there sftp-file\nget sftp-file {tmp_path}/back\n"
    sftp = ["sftp", *options(machine), "-P", str(PORT), "-b", "-", f"ubuntu@{machine.spec.address}"]
    subprocess.run(sftp, input=batch.encode(), check=True, capture_output=True, timeout=20)
    assert (tmp_path / "back").read_bytes() == data


@needs("scp")
@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "scp"])
def test_scp_moves_files_by_either_protocol(machine: Booted, data: bytes, tmp_path: Path, protocol: list[str]) -> None:
    (tmp_path / "there").write_bytes(data)
    remote = f"ubuntu@{machine.spec.address}:scp-file"
    scp = ["scp", *protocol, *options(machine), "-P", str(PORT)]
    subprocess.run([*scp, str(tmp_path / "there"), remote], check=True, capture_output=True, timeout=20)
    subprocess.run([*scp, remote, str(tmp_path / "back")], check=True, capture_output=True, timeout=20)
    assert (tmp_path / "back").read_bytes() == data


def test_a_tunnel_reaches_a_port_of_the_guest(machine: Booted) -> None:
    with machine.connect() as client:
        transport = client.get_transport()
        assert transport is not None
        endpoint = machine.run("echo $AWS_EC2_METADATA_SERVICE_ENDPOINT").out.strip()
        address, _, port = endpoint.removeprefix("http://").partition(":")
        tunnel = transport.open_channel("direct-tcpip", (address, int(port)), ("127.0.0.1", 0))
        tunnel.settimeout(10)
        tunnel.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert tunnel.recv(12) == b"HTTP/1.1 401"


def test_nothing_of_the_machinery_complains(machine: Booted) -> None:
    assert "Traceback" not in machine.guest.console()


def test_a_host_key_given_by_cloud_config_is_used(room: Room) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="given")
    private = key.export_private_key().decode().replace("\n", "\n    ")
    public = key.export_public_key().decode().strip()
    machine = room.boot(f"#cloud-config\nssh_keys:\n  ed25519_private: |\n    {private}\n  ed25519_public: {public}\n")
    with machine.connect() as client:
        seen = client.get_transport().get_remote_server_key()  # type: ignore[union-attr]
    assert seen.get_base64() == public.split()[1]
    assert f"-----BEGIN SSH HOST KEY KEYS-----\n{public}\n" in machine.guest.console()
