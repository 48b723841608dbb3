"""A live session and the one question every operation on it asks: did that end, or did the peer?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import paramiko

from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.ssh.errors import ChannelClosedError, PeerLostError
from gputx.ssh.handshake import Address
from gputx.ssh.wire import Wire

KEEPALIVE = "keepalive@openssh.com"
OPEN_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Liveness:
    """How long a peer may be quiet, in seconds without a byte: when it is asked, and when it counts as lost.

    The defaults notice a peer that stopped answering within 13 s, and give it 10 s to answer over a line that
    is busy with an upload.
    """

    ask_after: float = 2.0
    lost_after: float = 12.0


class Link:
    """Shared by everything that runs over one connection. Safe to use from several threads.

    paramiko's own keep-alive is left off: it asks for no answer, so it can't tell a silent peer from a quiet
    one, and it sends from the thread that reads, which blocks itself when it falls into a key exchange.
    """

    def __init__(
        self, transport: paramiko.Transport, wire: Wire, *, address: Address, stop: Stop, liveness: Liveness
    ) -> None:
        self.address = address
        self.stop = stop
        self._transport = transport
        self._wire = wire
        self._liveness = liveness
        self._closed = threading.Event()
        threading.Thread(target=self._ask, name=f"ssh-liveness-{address}", daemon=True).start()

    def close(self) -> None:
        """End the session and everything on it. Idempotent; never waits for the peer."""
        self._closed.set()
        self._wire.end("it was closed here")
        self._transport.close()
        self._wire.close()

    def execute(self, command: str) -> paramiko.Channel:
        """Start a command; its channel is open in both directions.

        Raises:
            ChannelClosedError: the host is there and refuses.
            PeerLostError, InterruptedBySignal: see :meth:`diagnosed`.
        """
        with self.diagnosed("starting a command"):
            channel = self._transport.open_session(timeout=OPEN_TIMEOUT_SECONDS)
            channel.exec_command(command)
        return channel

    def dial(self, host: str, port: int) -> paramiko.Channel:
        """A TCP connection made on the far side; its channel is open in both directions.

        Raises:
            ChannelClosedError: the far side is there, and nothing listens at that port.
            PeerLostError, InterruptedBySignal: see :meth:`diagnosed`.
        """
        with self.diagnosed(f"connecting to port {port} there"):
            return self._transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=OPEN_TIMEOUT_SECONDS
            )

    @contextmanager
    def diagnosed(self, doing: str) -> Iterator[None]:
        """Turn whatever paramiko raises into what it means.

        Raises:
            InterruptedBySignal: a stop was requested.
            PeerLostError: the connection has ended.
            ChannelClosedError: the connection stands; only this command's channel is closed.
            TimeoutError: as it is: a channel timeout that the caller set.
        """
        try:
            yield
        except TimeoutError:
            self.stop.check()
            raise
        except (EOFError, OSError, paramiko.SSHException) as error:
            raise self.diagnosis(doing, error) from error

    def diagnosis(self, doing: str, error: BaseException | None = None) -> GputxError:
        """The error for an operation that was cut off; raises InterruptedBySignal if that is why."""
        self.stop.check()
        if self.answers():
            said = f": {error}" if error is not None and str(error) else ""
            return ChannelClosedError(f"{self.address} ended the command while {doing}{said}")
        self.stop.check()
        reason = self._wire.ending or "it disconnected"
        return PeerLostError(f"the connection to {self.address} was lost while {doing}: {reason}")

    def answers(self) -> bool:
        """Ask the peer; False once the connection has ended. Waits for at most ``lost_after``."""
        if self._wire.ending is None and self._transport.is_active():
            self._question()
        return self._wire.ending is None and self._transport.is_active()

    def _question(self) -> None:
        try:
            self._transport.global_request(KEEPALIVE, wait=True)
        except (EOFError, OSError, paramiko.SSHException) as error:
            self._wire.end(str(error) or "it disconnected")

    def _ask(self) -> None:
        while not self._closed.wait(self._liveness.ask_after / 4) and self._transport.is_active():
            if self._wire.silence >= self._liveness.ask_after:
                self._question()
