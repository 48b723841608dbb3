"""One TCP connection that is made on the far side of a session, and its bytes brought over."""

from __future__ import annotations

import contextlib
import socket
import threading

import paramiko

from gputx.ssh.command import RECEIVE_BYTES, hang_up
from gputx.ssh.link import Link

_LOOPBACK = "127.0.0.1"


class Forwarded:
    """A connection to a port of the far side's loopback. Made when constructed.

    Raises:
        ChannelClosedError: nothing listens there.
        PeerLostError, InterruptedBySignal: the session ended, or a stop was requested.
    """

    def __init__(self, link: Link, port: int) -> None:
        self._channel = link.dial(_LOOPBACK, port)

    def join(self, near: socket.socket) -> None:
        """Bring bytes both ways until both sides have ended; closes both. Raises nothing: an end is an end."""
        back = threading.Thread(target=self._back, args=(near,), name="tunnel-back", daemon=True)
        back.start()
        try:
            while data := near.recv(RECEIVE_BYTES):
                self._channel.sendall(data)
            self._channel.shutdown_write()
        except (EOFError, OSError, paramiko.SSHException):
            self.close()
        back.join()
        self.close()
        near.close()

    def close(self) -> None:
        """Hang up. Idempotent."""
        hang_up(self._channel)

    def _back(self, near: socket.socket) -> None:
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            while data := self._channel.recv(RECEIVE_BYTES):
                near.sendall(data)
        # Whoever waits for more is told that there is none; the other direction may still have something to say.
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_WR if self._channel.eof_received else socket.SHUT_RDWR)
