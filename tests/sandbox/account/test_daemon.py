"""The daemon as a process: one to a directory, found again, gone with its guests however it ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gputx import sandbox
from gputx.errors import ConfigurationError
from gputx.sandbox import account as account_module
from gputx.sandbox.clock import write_offset
from gputx.sandbox.state import StateDirectory

from .lab import Lab, wait_for


def _processes_naming(text: str) -> list[str]:
    """Command lines and environments of live processes that mention ``text``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z" and text.encode() in command:
            found.append(command.decode(errors="replace"))
    return found


def test_up_finds_the_one_that_runs_and_stop_ends_it(tmp_path: Path) -> None:
    assert sandbox.find(tmp_path) is None
    began = time.monotonic()
    account = sandbox.up(tmp_path)
    assert time.monotonic() - began < 15  # about 1.5 s on an idle machine
    try:
        assert sandbox.up(tmp_path) == account
        assert sandbox.find(tmp_path) == account
        mode = stat.S_IMODE((tmp_path / "daemon.json").stat().st_mode)
        assert mode == 0o600
        assert account.access_key.startswith("SANDBOX")
        assert len(account.access_key) == 20
    finally:
        account.stop()
    assert sandbox.find(tmp_path) is None
    with pytest.raises(ConfigurationError):
        account.status()


def test_two_that_start_at_once_get_one_daemon(tmp_path: Path) -> None:
    program = f"from pathlib import Path; from gputx.sandbox import up; print(up(Path({str(tmp_path)!r})).pid)"
    starts = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    pids = {start.communicate(timeout=60)[0] for start in starts}
    found = sandbox.find(tmp_path)
    assert found is not None
    assert pids == {f"{found.pid}\n"}
    found.stop()


def test_a_fresh_start_has_forgotten_the_last_account(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.create()
    state.describe({"pid": 1, "endpoint_url": "http://127.0.0.1:1"})
    (state.guests / "i-1").mkdir(parents=True)
    write_offset(state.clock, 1000.0)
    assert sandbox.find(tmp_path) is None
    account = sandbox.up(tmp_path)
    assert account.pid != 1
    assert account.clock.offset == 0.0
    assert not (state.guests / "i-1").exists()
    account.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kill_9_leaves_no_process(tmp_path: Path) -> None:
    account = sandbox.up(tmp_path / "state", pending_seconds=0.0)
    lab = Lab(account, tmp_path)
    lab.image = lab.ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    lab.key_file  # noqa: B018 - makes the key pair
    instance_id = lab.launch(KeyName="lab", UserData="#!/bin/sh\nsleep 98765 &\n")
    wait_for(lambda: lab.ssh(instance_id, "true").returncode == 0)
    wait_for(lambda: _processes_naming("98765"))
    os.kill(account.pid, signal.SIGKILL)
    wait_for(lambda: not _processes_naming("98765") and not _processes_naming(str(tmp_path / "state")))
    wait_for(lambda: sandbox.find(tmp_path / "state") is None)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_ephemeral_sandbox_dies_with_its_owner(tmp_path: Path) -> None:
    program = (
        "import time\nfrom gputx.sandbox import ephemeral\n"
        "with ephemeral() as account:\n    print(account.state_dir, flush=True)\n    time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert owner.stdout
    with owner.stdout:
        directory = Path(owner.stdout.readline().strip())
        assert StateDirectory(directory).owned
        owner.kill()
        owner.wait(10)
    wait_for(lambda: not StateDirectory(directory).owned)
    wait_for(lambda: not _processes_naming(str(directory)))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(account_module, "_NEEDED", ("moto", "no_such_package"))
    with pytest.raises(ConfigurationError, match="no_such_package") as caught:
        sandbox.up(tmp_path)
    assert caught.value.hint == "pip install 'gputx[sandbox]'"


def test_importing_the_sandbox_loads_no_emulator() -> None:
    program = "import sys, gputx.sandbox; print(sorted({'moto', 'flask', 'asyncssh', 'boto3'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
