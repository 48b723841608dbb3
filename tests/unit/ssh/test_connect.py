"""Reaching an instance: keep trying until it is up, and trust nobody but the machine that was launched."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gputx.clock import Stop, SystemClock
from gputx.errors import ExitCode, InterruptedBySignal
from gputx.ssh import keys
from gputx.ssh.connection import Address, Connection, connect
from gputx.ssh.errors import AuthenticationRefusedError, HostKeyChangedError, SshUnavailableError
from gputx.ssh.keys import KeyPair

from .conftest import Peer, TurnedClock


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def reach(peer: Peer, stop: Stop, clock: TurnedClock | None = None, **changed: object) -> Connection:
    arguments: dict[str, object] = {
        "user": "ubuntu",
        "key": peer.user_key,
        "host_key": peer.host_key.public_openssh,
        "clock": clock or TurnedClock(),
        "stop": stop,
        **changed,
    }
    return connect(peer.address, **arguments)  # type: ignore[arg-type]


def test_a_port_that_comes_up_later_is_found(peer: Peer, stop: Stop) -> None:
    peer.port = free_port()
    seen: list[tuple[int, str]] = []

    def boot_on_the_third(attempt: int, what: str) -> None:
        seen.append((attempt, what))
        if attempt == 3:
            peer.start()

    with reach(peer, stop, on_attempt=boot_on_the_third) as connection:
        assert connection.run("echo up").stdout == b"up\n"
    assert seen == [(1, "connection refused"), (2, "connection refused"), (3, "connection refused")]


def test_pauses_grow_from_a_fifth_of_a_second_to_one_second(peer: Peer, stop: Stop) -> None:
    peer.port = free_port()
    clock = TurnedClock()
    times: list[float] = []
    with pytest.raises(SshUnavailableError, match=r"within 10 s; last seen: connection refused") as caught:
        reach(peer, stop, clock, deadline_seconds=10, on_attempt=lambda *_: times.append(clock.time()))
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] == pytest.approx(0.2)
    assert pauses == sorted(pauses)
    assert max(pauses) == pytest.approx(1.0)
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.FAILED


def test_a_listener_that_is_no_ssh_server_counts_as_not_up_yet(peer: Peer, stop: Stop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer.port = listener.getsockname()[1]

        def hang_up_on_everyone() -> None:
            for _ in range(3):
                client, _ = listener.accept()
                client.close()

        thread = threading.Thread(target=hang_up_on_everyone)
        thread.start()
        with pytest.raises(SshUnavailableError, match="no SSH there yet"):
            reach(peer, stop, deadline_seconds=0.4)
        while thread.is_alive():
            with socket.create_connection(("127.0.0.1", peer.port)):
                thread.join(0.05)


def test_another_host_key_is_refused_at_once(peer: Peer, stop: Stop) -> None:
    peer.start()
    attempts: list[str] = []
    impostor = keys.generate().public_openssh
    with pytest.raises(HostKeyChangedError) as caught:
        reach(peer, stop, host_key=impostor, on_attempt=lambda _, what: attempts.append(what))
    assert attempts == []
    assert keys.fingerprint(impostor) in caught.value.details[0]
    assert keys.fingerprint(peer.host_key.public_openssh) in caught.value.details[1]
    assert "nothing was sent" in (caught.value.hint or "")


def test_a_host_without_an_ed25519_key_is_another_host(peer: Peer, stop: Stop) -> None:
    pinned = peer.host_key.public_openssh
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    peer.host_key = KeyPair(private_openssh=private, public_openssh=pinned)
    peer.start()
    with pytest.raises(HostKeyChangedError, match="not the one that was launched"):
        reach(peer, stop)


def test_a_key_that_is_not_accepted_is_said_to_be_after_a_grace(peer: Peer, stop: Stop) -> None:
    peer.start()
    clock = TurnedClock()
    began = clock.time()
    with pytest.raises(AuthenticationRefusedError, match="user ubuntu"):
        reach(peer, stop, clock, key=keys.generate())
    assert 3.0 <= clock.time() - began < 4.5


def test_a_host_key_that_is_no_ed25519_key_is_a_mistake_of_the_caller(peer: Peer, stop: Stop) -> None:
    with pytest.raises(ValueError, match="not an ssh-ed25519 public key"):
        reach(peer, stop, host_key="ssh-rsa AAAA")


@pytest.mark.parametrize("where", ["waiting for the banner", "between two attempts"])
def test_a_stop_ends_the_wait(peer: Peer, stop: Stop, where: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        peer.port = mute.getsockname()[1] if where == "waiting for the banner" else free_port()
        requested_at: list[float] = []

        def interrupt() -> None:
            requested_at.append(time.monotonic())
            stop.request(signal.SIGTERM)

        timer = threading.Timer(0.3, interrupt)
        timer.start()
        with pytest.raises(InterruptedBySignal) as caught:
            reach(peer, stop, clock=SystemClock())  # type: ignore[arg-type]
        assert time.monotonic() - requested_at[0] < 1.0
        assert caught.value.exit_code is ExitCode.TERMINATED
        timer.join()


def test_addresses_read_as_people_write_them() -> None:
    assert str(Address("10.0.0.7")) == "10.0.0.7:22"


def test_keys_are_openssh_text_and_keep_their_secret() -> None:
    pair = keys.generate()
    assert re.fullmatch(r"ssh-ed25519 [A-Za-z0-9+/]{68}", pair.public_openssh)
    assert pair.private_openssh.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "PRIVATE" not in repr(pair)
    assert keys.generate() != pair


def test_a_fingerprint_is_what_ssh_keygen_prints() -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Yk0Q1jcRZxtMf8c1vRr4Jy2u8Zr0JYb2sX9y1h7aB"
    assert keys.fingerprint(line) == "SHA256:X0HPA9EsKWzsu+6jeQmuOaCrn2xP8100RQaf19PP1o8"
