"""A peer that dies, one that falls silent, a person who presses Ctrl-C: in the middle of each operation."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from gputx.clock import Stop
from gputx.errors import InstanceLostError, InterruptedBySignal
from gputx.ssh.connection import Connection
from gputx.ssh.errors import PeerLostError

from .conftest import QUICK, Peer

# More than the server's window and every socket buffer on the way can swallow.
LARGE = bytes(48 << 20)
# Generous for a busy machine; a wait that is not honoured takes for ever.
SOON_SECONDS = QUICK.lost_after + 3.0

Operation = Callable[[Connection, Callable[[], None]], None]


def in_run(connection: Connection, event: Callable[[], None]) -> None:
    threading.Timer(0.3, event).start()
    connection.run("sleep 20", timeout=60)


def in_run_input(connection: Connection, event: Callable[[], None]) -> None:
    threading.Timer(0.3, event).start()
    connection.run("sleep 20", input=LARGE, timeout=60)


def in_stream(connection: Connection, event: Callable[[], None]) -> None:
    stream = connection.open_stream("echo first; sleep 20; echo second")
    for line in stream.lines():
        assert line == "first"
        event()


def in_write(connection: Connection, event: Callable[[], None]) -> None:
    stream = connection.open_stream("sleep 20")
    threading.Timer(0.3, event).start()
    while True:
        stream.write_line("x" * 1_000_000)


def in_wait(connection: Connection, event: Callable[[], None]) -> None:
    stream = connection.open_stream("exec sleep 20")
    threading.Timer(0.3, event).start()
    stream.wait()


def in_upload(connection: Connection, event: Callable[[], None]) -> None:
    fired: list[int] = []

    def once(done: int, _total: int) -> None:
        if not fired:
            fired.append(done)
            event()

    connection.upload_bytes(LARGE, "file", progress=once)


@pytest.fixture
def connection(peer: Peer, dial: Callable[[Peer], Connection]) -> Connection:
    """A connection to a server that the test may freeze and kill."""
    peer.start()
    return dial(peer)


OPERATIONS = [in_run, in_run_input, in_stream, in_write, in_wait, in_upload]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_peer_that_stops_answering_is_noticed(peer: Peer, connection: Connection, operation: Operation) -> None:
    frozen_at: list[float] = []

    def freeze() -> None:
        frozen_at.append(time.monotonic())
        peer.freeze()

    with pytest.raises(PeerLostError, match=r"has not answered for 1 s"):
        operation(connection, freeze)
    assert time.monotonic() - frozen_at[0] < SOON_SECONDS


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_peer_that_dies_is_noticed(peer: Peer, connection: Connection, operation: Operation) -> None:
    with pytest.raises(PeerLostError) as caught:
        operation(connection, peer.kill)
    assert isinstance(caught.value, InstanceLostError)
    assert not (peer.home / "file").exists()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_stop_ends_the_operation(stop: Stop, connection: Connection, operation: Operation) -> None:
    requested_at: list[float] = []

    def interrupt() -> None:
        requested_at.append(time.monotonic())
        stop.request(signal.SIGINT)

    with pytest.raises(InterruptedBySignal) as caught:
        operation(connection, interrupt)
    assert caught.value.signum == signal.SIGINT
    assert time.monotonic() - requested_at[0] < 1.0


def test_a_stop_ends_an_upload_to_a_peer_that_takes_nothing(peer: Peer, stop: Stop, connection: Connection) -> None:
    peer.freeze()
    timer = threading.Timer(0.4, stop.request, (signal.SIGHUP,))
    timer.start()
    with pytest.raises(InterruptedBySignal):
        connection.upload_bytes(LARGE, "file")
    timer.join()


def test_a_quiet_peer_that_answers_is_not_lost(connection: Connection) -> None:
    quiet = 2 * QUICK.lost_after
    assert list(connection.open_stream(f"sleep {quiet}; echo still here").lines()) == ["still here"]


def test_a_lost_connection_stays_lost(peer: Peer, connection: Connection) -> None:
    peer.kill()
    for _ in range(2):
        with pytest.raises(PeerLostError):
            connection.run("true")
    with pytest.raises(PeerLostError):
        connection.upload_bytes(b"x", "file")


def test_a_closed_connection_says_that_it_was_closed_here(connection: Connection) -> None:
    connection.close()
    connection.close()
    with pytest.raises(PeerLostError, match="closed here"):
        connection.run("true")
