"""Guests without a control plane: booted directly, reached by paramiko, their power watched."""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import paramiko
import pytest

from gputx.sandbox.guests import Guest, GuestHost, GuestSpec, free_address, make_image

PORT = 2222
PATIENCE_SECONDS = 20
TINY_MODEL = Path(__file__).parents[3] / "gputx" / "sandbox" / "tiny_sv"


def eventually(true: Callable[[], object], what: str, shown: Callable[[], object] = str) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {what} {shown()}"
        time.sleep(0.01)


def processes_with(mark: str) -> list[str]:
    """The command lines on this machine with ``mark`` in them."""
    listing = subprocess.run(["ps", "-axww", "-o", "args"], capture_output=True, text=True, check=True)
    return [line for line in listing.stdout.splitlines() if mark in line]


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


@dataclass
class Booted:
    """A guest, and what a test wants of it."""

    guest: Guest
    host: GuestHost
    spec: GuestSpec
    key: Path
    disk: Path
    powers: queue.Queue[str] = field(default_factory=queue.Queue)

    def wait_for_ssh(self, boots: int = 1) -> None:
        eventually(
            lambda: self.guest.console().count("Started OpenBSD Secure Shell server") >= boots,
            "sshd",
            self.guest.console,
        )

    def connect(self, user: str = "ubuntu") -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            self.spec.address,
            PORT,
            user,
            key_filename=str(self.key),
            allow_agent=False,
            look_for_keys=False,
            timeout=5,
        )
        return client

    def run(self, command: str, stdin: bytes = b"") -> Result:
        with self.connect() as client:
            channel = client.get_transport().open_session()  # type: ignore[union-attr]
            channel.settimeout(PATIENCE_SECONDS)
            channel.exec_command(command)
            channel.sendall(stdin)
            channel.shutdown_write()
            out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
            return Result(channel.recv_exit_status(), out.decode(), err.decode())

    def power(self) -> str:
        return self.powers.get(timeout=PATIENCE_SECONDS)


class Room:
    """A host, an image and a clock of its own."""

    def __init__(self, directory: Path, isolation: str | None = None) -> None:
        self.directory = directory
        self.mode = isolation
        self.clock = directory / "clock"
        self.turn(0)
        self.image = directory / "image"
        make_image(self.image, model=TINY_MODEL, model_id="gputx/tiny-sv", python=Path(sys.executable))
        self.key = directory / "key"
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.key.write_bytes(key.export_private_key())
        self.key.chmod(0o600)
        self.public = key.export_public_key().decode().strip()
        self.host = GuestHost(directory, clock_file=self.clock, isolation=isolation)
        self._count = 0

    def turn(self, offset: float) -> None:
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self.clock)

    def boot(
        self,
        user_data: str | bytes = b"",
        *,
        image: Path | None = None,
        wait: bool = True,
        again: Booted | None = None,
    ) -> Booted:
        self._count += 1
        spec = (
            again.spec
            if again
            else GuestSpec(
                instance_id=f"i-{self._count:017x}",
                address=free_address((), PORT),
                port=PORT,
                authorized_keys=(self.public,),
                user_data=user_data.encode() if isinstance(user_data, str) else user_data,
                metadata={
                    "instance-id": f"i-{self._count:017x}",
                    "placement/availability-zone": "eu-north-1a",
                },
            )
        )
        powers: queue.Queue[str] = queue.Queue()
        guest = self.host.boot(spec, image=None if again else image or self.image, on_power=powers.put)
        disk = self.host._isolation.disk(self.directory / "guests" / spec.instance_id)
        booted = Booted(guest, self.host, spec, self.key, disk, powers)
        if wait:
            booted.wait_for_ssh()
        return booted


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    room = Room(tmp_path_factory.mktemp("room"))
    yield room
    room.host.close()


@pytest.fixture(scope="module")
def machine(room: Room) -> Booted:
    """A guest that tests share which leave it as it was."""
    return room.boot()
