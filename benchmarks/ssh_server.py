"""An SSH server on loopback for measurements: OpenSSH's sshd where it is installed, else asyncssh.

Its keys are made for the occasion, and it serves the user who starts it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gputx.ssh import keys
from gputx.ssh.keys import KeyPair

START_SECONDS = 10.0
ALIAS = "benchmark"

# SHLVL: bash reads the ~/.bashrc of whoever measures when it believes to be the first shell under sshd, and
# what that file costs is no property of an upload.
SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
SetEnv SHLVL=2
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Server:
    """A running server and what opens it. ``known_hosts`` knows it as ``benchmark``, whatever the port."""

    kind: str
    port: int
    user: str
    host_key: str
    user_key: KeyPair
    identity: Path
    known_hosts: Path


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server for the length of a block.

    Raises:
        RuntimeError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="gputx-bench-") as name:
        directory = Path(name)
        host, user = keys.generate(), keys.generate()
        for file, text in (
            ("host_key", host.private_openssh),
            ("identity", user.private_openssh),
            ("authorized_keys", user.public_openssh + "\n"),
            ("known_hosts", f"{ALIAS} {host.public_openssh}\n"),
        ):
            (directory / file).touch(mode=0o600)
            (directory / file).write_text(text)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
        kind, command = _command(directory, port)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(port, process)
            yield Server(
                kind,
                port,
                getpass.getuser(),
                host.public_openssh,
                user,
                directory / "identity",
                directory / "known_hosts",
            )
        finally:
            process.terminate()
            process.wait()


def _command(directory: Path, port: int) -> tuple[str, list[str]]:
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if sshd is None:
        return "asyncssh", [sys.executable, __file__, "--directory", str(directory), "--port", str(port)]
    if os.geteuid() == 0:
        # Where sshd drops its privileges. Its service makes it, and this sshd is not started as a service.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = directory / "sshd_config"
    config.write_text(SSHD_CONFIG.format(port=port, directory=directory))
    # sshd insists on its absolute path: it starts itself again for each connection.
    return "OpenSSH sshd", [sshd, "-D", "-e", "-f", str(config)]


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the SSH server did not start (exit status {process.poll()})")


async def _serve_with_asyncssh(directory: Path, port: int) -> None:
    import asyncssh  # noqa: PLC0415 - only where there is no sshd

    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        child = await asyncio.create_subprocess_shell(
            process.command or "", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        await process.redirect(stdin=child.stdin, stdout=child.stdout)
        process.exit(await child.wait())

    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[str(directory / "host_key")],
        authorized_client_keys=str(directory / "authorized_keys"),
        process_factory=run,
        sftp_factory=True,
        encoding=None,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="serve with asyncssh; used where there is no sshd")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(_serve_with_asyncssh(arguments.directory, arguments.port))
