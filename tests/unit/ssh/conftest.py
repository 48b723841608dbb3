"""A real SSH server in a process of its own, and a clock that tests turn."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from gputx.clock import Stop
from gputx.ssh import keys
from gputx.ssh.connection import Address, Connection, Liveness, connect
from gputx.ssh.keys import KeyPair

# Small enough for a test to wait for, and the same code path as the 2 s and 12 s of production.
QUICK = Liveness(ask_after=0.2, lost_after=1.0)


class TurnedClock:
    """A clock that sleeping turns: no test waits for it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, stop: Stop | None = None) -> None:
        if stop is not None:
            stop.check()
        self.now += seconds


@dataclass
class Peer:
    """The server process, what it stores in, and the keys that open it."""

    home: Path
    user_key: KeyPair = field(default_factory=keys.generate)
    host_key: KeyPair = field(default_factory=keys.generate)
    port: int = 0
    process: subprocess.Popen[str] | None = None
    _killing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    def start(self, *, damaged_uploads: int = 0) -> None:
        secrets = self.home.parent
        (secrets / "host_key").write_text(self.host_key.private_openssh)
        (secrets / "host_key").chmod(0o600)
        (secrets / "authorized_keys").write_text(self.user_key.public_openssh + "\n")
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(Path(__file__).with_name("server.py"))),
                *("--home", str(self.home), "--port", str(self.port)),
                *("--host-key", str(secrets / "host_key")),
                *("--authorized-keys", str(secrets / "authorized_keys")),
                *("--damaged-uploads", str(damaged_uploads)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def freeze(self) -> None:
        """The peer stops answering, and its kernel goes on acknowledging TCP."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """The peer and all that it runs are gone. A second time, and from another thread, it does nothing."""
        with self._killing:
            process, self.process = self.process, None
            if process is not None and process.stdout is not None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                process.stdout.close()


def some_bytes(size: int) -> bytes:
    """The same noise each time."""
    return np.random.default_rng(20261120).bytes(size)


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """A server of the test's own, not started yet, for tests that harm it."""
    home = tmp_path / "home"
    home.mkdir()
    peer = Peer(home)
    yield peer
    peer.kill()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """One server for all tests that do it no harm."""
    home = tmp_path_factory.mktemp("ssh") / "home"
    home.mkdir()
    running = Peer(home)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def home(running: Peer) -> Path:
    """The running server's home directory, empty."""
    shutil.rmtree(running.home)
    running.home.mkdir()
    return running.home


@pytest.fixture
def dial(stop: Stop) -> Iterator[Callable[[Peer], Connection]]:
    """Connect to a peer with its own keys; whatever was opened is closed after the test."""
    opened: list[Connection] = []

    def open_one(peer: Peer) -> Connection:
        connection = connect(
            peer.address,
            user="ubuntu",
            key=peer.user_key,
            host_key=peer.host_key.public_openssh,
            clock=TurnedClock(),
            stop=stop,
            liveness=QUICK,
        )
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(running: Peer, home: Path, dial: Callable[[Peer], Connection]) -> Connection:
    """A connection to the running server."""
    return dial(running)
