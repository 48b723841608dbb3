"""A port here whose connections come out on an instance: it stays open while the session behind it is made anew.

Whoever connects while there is no session, or while nothing listens on the other side, is kept waiting for a little:
a server that is being restarted costs its clients a pause and no error.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

from gputx.errors import ConfigurationError, GputxError, InterruptedBySignal
from gputx.ssh.connection import Connection
from gputx.ssh.forwarded import Forwarded

LOOPBACK = "127.0.0.1"
PATIENCE_SECONDS = 15.0
"""How long a client is kept waiting for a way through, in real time."""

_PAUSE_SECONDS = 0.2


class Tunnel:
    """Listens on loopback from construction on, and takes what comes through whatever session there is.

    Args:
        port: here; 0 for any that is free.

    Raises:
        ConfigurationError: the port is taken.
    """

    def __init__(self, port: int = 0, *, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._way: tuple[Connection, int] | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((LOOPBACK, port))
        except OSError as error:
            self._listener.close()
            raise ConfigurationError(
                f"port {port} of this machine can't be used: {error.strerror}",
                hint="name another with --port, or 0 for any that is free",
            ) from None
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="tunnel", daemon=True).start()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def through(self, connection: Connection, port: int) -> None:
        """From now on what connects here comes out at that port of the other side's loopback."""
        with self._changed:
            self._way = (connection, port)
            self._changed.notify_all()

    def blocked(self) -> None:
        """The session has ended: whoever connects waits for the next one."""
        with self._changed:
            self._way = None

    def close(self) -> None:
        """Stop listening. What is under way ends with its session. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # Closing alone leaves a thread in accept() where it is.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                # Closed; or this process has no descriptor left just now, or the client has gone again.
                time.sleep(0.0 if self._closed else _PAUSE_SECONDS)
                continue
            with contextlib.suppress(OSError):  # macOS refuses it for a client that has gone
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(near,), name="tunnel-client", daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        far = self._far()
        if far is None:
            near.close()
        else:
            far.join(near)

    def _far(self) -> Forwarded | None:
        """A connection on the other side; None where there was none to be had in time."""
        give_up_at = time.monotonic() + self._patience
        while (left := give_up_at - time.monotonic()) > 0 and not self._closed:
            with self._changed:
                if self._way is None:
                    self._changed.wait(left)
                    continue
                connection, port = self._way
            try:
                return connection.dial(port)
            except InterruptedBySignal:
                return None
            except GputxError:
                time.sleep(_PAUSE_SECONDS)  # nothing listens there yet, or the session has ended and is made anew
        return None
