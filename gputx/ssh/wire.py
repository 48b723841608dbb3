"""A TCP socket that knows when its peer went quiet, and when this side was asked to stop.

paramiko waits without end in several places: ``recv_exit_status``, the reply to ``exec``, a write into a full
socket buffer. All of them end when its own thread meets an error on the socket, and that thread looks at the
socket ten times a second. So the two reasons for giving up are decided there, once, for every operation.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from gputx.clock import Stop

# While nobody polls the socket, nobody can hear an answer: a laptop that slept, a process stopped with Ctrl-Z
# or starved of CPU must not blame its peer. A longer gap between two polls counts as this much.
LONGEST_POLL_SECONDS = 1.0
CONNECT_POLL_SECONDS = 0.1


class Wire(socket.socket):
    """A connected socket for a paramiko transport.

    Silence is real time, never the run's clock: a sandbox that turns its clock by an hour has cut no cable.

    Args:
        connected: taken over; not to be used any more.
        stop: when requested, the next look at the socket ends the connection.
        lost_after: seconds without a byte from the peer after which it counts as lost.
    """

    def __init__(self, connected: socket.socket, *, stop: Stop, lost_after: float) -> None:
        super().__init__(fileno=connected.detach())
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stop = stop
        self._lost_after = lost_after
        self._lock = threading.Lock()
        self._silence = 0.0
        self._polled_at = time.monotonic()
        self._ending: str | None = None

    @property
    def ending(self) -> str | None:
        """Why no more bytes will come, in words; None while the connection stands."""
        return self._ending

    @property
    def silence(self) -> float:
        """Seconds of listening since the peer last said anything."""
        return self._silence

    def end(self, reason: str) -> None:
        """Note why the connection ends. The first reason is kept: the rest are its consequences."""
        with self._lock:
            self._ending = self._ending or reason

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As ``socket.recv``; raises OSError once the peer is lost or a stop was requested."""
        try:
            data = super().recv(bufsize, flags)
        except OSError as error:
            self._unready(error)
        if data:
            self._silence = 0.0
            self._polled_at = time.monotonic()
        else:
            self.end("it closed the connection")
        return data

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """As ``socket.send``; raises OSError once the peer is lost or a stop was requested."""
        try:
            return super().send(data, flags)
        except OSError as error:
            self._unready(error)

    def _unready(self, error: OSError) -> NoReturn:
        # The kernel's ETIMEDOUT has the type of Python's own poll timeout, which paramiko retries for ever.
        if not isinstance(error, TimeoutError) or error.errno is not None:
            self.end(error.strerror or str(error))
            raise ConnectionAbortedError(errno.ECONNABORTED, str(error)) from error
        with self._lock:
            now = time.monotonic()
            self._silence += min(now - self._polled_at, LONGEST_POLL_SECONDS)
            self._polled_at = now
        if self._stop.requested:
            self.end("a stop was requested")
            raise ConnectionAbortedError(errno.ECONNABORTED, "a stop was requested")
        if self._silence >= self._lost_after:
            self.end(f"it has not answered for {self._lost_after:.0f} s")
            raise ConnectionAbortedError(errno.ECONNABORTED, "the peer has stopped answering")
        raise error


def dial(host: str, port: int, *, timeout: float, stop: Stop) -> socket.socket:
    """Connect over TCP, giving up at once when a stop is requested.

    Args:
        timeout: seconds for each address the host resolves to.

    Raises:
        OSError: refused, unreachable, no such host; TimeoutError when nothing answered in time.
        InterruptedBySignal: a stop was requested.
    """
    refusal: OSError = OSError(errno.EADDRNOTAVAIL, "the host has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with contextlib.ExitStack() as on_failure:
            candidate = on_failure.enter_context(socket.socket(family, kind, protocol))
            try:
                _connect(candidate, address, timeout, stop)
            except OSError as error:
                refusal = error
            else:
                on_failure.pop_all()
                return candidate
    raise refusal


def _connect(candidate: socket.socket, address: object, timeout: float, stop: Stop) -> None:
    candidate.setblocking(False)
    code = candidate.connect_ex(address)  # type: ignore[arg-type]  # getaddrinfo's own words for connect
    if code == errno.EINPROGRESS:
        give_up_at = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(candidate, selectors.EVENT_WRITE)
            while not selector.select(CONNECT_POLL_SECONDS):
                stop.check()
                if time.monotonic() >= give_up_at:
                    raise TimeoutError(errno.ETIMEDOUT, f"no answer within {timeout:g} s")
        code = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
