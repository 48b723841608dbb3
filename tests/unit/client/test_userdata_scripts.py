"""The scripts inside user-data, as the shells of other distributions read them. `make boot-check` boots them."""

from __future__ import annotations

import email
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gputx.aws import userdata


def scripts() -> dict[str, str]:
    """Everything a shell runs: both boothooks, and the two scripts that they carry in here-documents."""
    text = userdata.build(
        ttl=7200,
        deadline=1_800_000_000,
        grace=600,
        host_private="-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n",
        host_public="ssh-ed25519 AAAA",
        user="ubuntu",
        early=userdata.EarlyWorker(
            url="https://b.s3.eu-north-1.amazonaws.com/k?a=1&b=2%2F",
            name="payload-0.pyz",
            sha256="0" * 64,
            command='"${TRANSCRIBE_ROOT:-/opt/transcribe}/venv/bin/python" gputx/payload-0.pyz serve',
        ),
    )
    hooks = [
        str(part.get_payload()).removeprefix("#cloud-boothook\n")
        for part in email.message_from_string(text).walk()
        if part.get_content_subtype() == "cloud-boothook"
    ]
    lock, early = hooks
    return {"lock": lock, "early": early, "watchdog": inside(lock), "worker": inside(early)}


def inside(hook: str) -> str:
    found = re.search(r"<<'END'\n(.*?)^END$", hook, re.DOTALL | re.MULTILINE)
    assert found
    return "#!/bin/sh\n" + found[1]


@pytest.mark.parametrize("name", ["lock", "early", "watchdog", "worker"])
@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck here")
def test_shellcheck_finds_nothing(name: str) -> None:
    command = ["shellcheck", "--shell=sh", "-"]
    found = subprocess.run(command, input=scripts()[name], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
@pytest.mark.parametrize("name", ["lock", "early", "watchdog", "worker"])
def test_every_shell_can_read_them(shell: str, name: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n"], input=scripts()[name], text=True, check=True)


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_the_watchdog_lets_go_of_the_boot_where_systemd_can_t_start_it(shell: str, tmp_path: Path) -> None:
    """cloud-init reads a boothook's output to its end: whoever holds it open holds up the boot."""
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    watchdog, running = tmp_path / "watchdog", tmp_path / "running"
    watchdog.write_text(f"echo $$ > {running}\nexec sleep 60\n")
    lock = scripts()["lock"]
    last = lock[lock.rindex("{ [ -d /run/systemd/system ]") :]
    assert "setsid" in last
    here = last.replace("/run/systemd/system", str(tmp_path / "none")).replace("/run/gputx-watchdog", str(watchdog))
    subprocess.run([shell, "-c", here], capture_output=True, check=True, timeout=30, env={**os.environ, "end": "1"})
    for _ in range(500):
        if running.exists() and running.read_text().strip():
            break
        time.sleep(0.01)
    os.kill(int(running.read_text()), signal.SIGKILL)
