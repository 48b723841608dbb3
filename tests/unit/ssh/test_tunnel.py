"""A tunnel: bytes both ways, a server that is started again, a session that is lost and made anew."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from gputx.clock import Stop, SystemClock
from gputx.errors import ConfigurationError, GputxError
from gputx.ssh.connection import Connection, connect
from gputx.ssh.tunnel import Tunnel

from .conftest import QUICK, Peer, some_bytes


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None], port: int = 0) -> Iterator[int]:
    """A TCP server that gives each client to ``answer``; its port."""
    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=answer, args=(client,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def echo(client: socket.socket) -> None:
    """Everything back once it is whole, then an end."""
    with client:
        data = b""
        while piece := client.recv(1 << 16):
            data += piece
        client.sendall(data)


def through(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
        near.sendall(data)
        near.shutdown(socket.SHUT_WR)
        got = b""
        while piece := near.recv(1 << 16):
            got += piece
        return got


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_bytes_come_back_whole_from_many_clients_at_once(connection: Connection) -> None:
    data = some_bytes(3_000_000)
    with listening(echo) as port, Tunnel() as tunnel:
        tunnel.through(connection, port)
        got: list[bytes] = []
        clients = [threading.Thread(target=lambda: got.append(through(tunnel.port, data))) for _ in range(6)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(60)
    assert got == [data] * 6


def test_who_hangs_up_is_not_waited_for(connection: Connection) -> None:
    hung_up = threading.Event()

    def told(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while client.recv(1024):
                pass
            hung_up.set()

    with listening(told) as port, Tunnel() as tunnel:
        tunnel.through(connection, port)
        with socket.create_connection(("127.0.0.1", tunnel.port)) as near:
            near.sendall(b"half a word")
        assert hung_up.wait(10)


def test_a_server_that_is_started_again_costs_a_pause_and_no_error(connection: Connection) -> None:
    port = free_port()
    with Tunnel(patience=20) as tunnel:
        tunnel.through(connection, port)
        got: list[bytes] = []
        client = threading.Thread(target=lambda: got.append(through(tunnel.port, b"hello")))
        client.start()
        client.join(0.4)  # nothing listens there yet
        assert not got
        with listening(echo, port):
            client.join(20)
    assert got == [b"hello"]


def test_nothing_on_the_other_side_ends_the_connection_after_a_while(connection: Connection) -> None:
    with Tunnel(patience=0.5) as tunnel:
        tunnel.through(connection, free_port())
        assert through(tunnel.port, b"") == b""
    with Tunnel(patience=0.2) as tunnel:  # no session at all
        assert through(tunnel.port, b"") == b""


def test_the_port_outlives_the_session_behind_it(peer: Peer) -> None:
    peer.start()

    def session() -> Connection:
        return connect(
            peer.address,
            user="tester",
            key=peer.user_key,
            host_key=peer.host_key.public_openssh,
            clock=SystemClock(),
            stop=Stop(),
            deadline_seconds=20,
            liveness=QUICK,
        )

    with listening(echo) as port, Tunnel() as tunnel:
        with session() as first:
            tunnel.through(first, port)
            assert through(tunnel.port, b"one") == b"one"
            peer.kill()
            with pytest.raises(GputxError):
                first.run(":")
        tunnel.blocked()
        got: list[bytes] = []
        waiting = threading.Thread(target=lambda: got.append(through(tunnel.port, b"two")))
        waiting.start()
        peer.start()
        with session() as second:
            tunnel.through(second, port)
            waiting.join(20)
            assert got == [b"two"]


def test_a_port_that_is_taken_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError, match="can't be used"):
        Tunnel(taken.getsockname()[1])


def test_it_takes_clients_again_after_it_had_no_descriptor_for_one(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, refused = socket.socket.accept, threading.Event()

    def without(self: socket.socket) -> object:
        if not refused.is_set():
            refused.set()
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    with listening(echo) as port:
        monkeypatch.setattr(socket.socket, "accept", without)
        with Tunnel() as tunnel:
            tunnel.through(connection, port)
            assert refused.wait(10)
            assert through(tunnel.port, b"hej") == b"hej"
