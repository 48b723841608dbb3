"""A line between the page and the server that can be cut: a proxy of bytes on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Line:
    """Passes on whatever comes, until it is cut; what connects afterwards is passed on again."""

    def __init__(self, port: int) -> None:
        """``port``: where the server listens."""
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection there is."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return  # closed
            theirs = socket.create_connection(self._target)
            self._ends += [ours, theirs]
            for source, goal in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=_pass_on, args=(source, goal), daemon=True).start()


def _pass_on(source: socket.socket, goal: socket.socket) -> None:
    # Either end may be cut at any moment: then the other is done, too.
    with suppress(OSError):
        while data := source.recv(1 << 16):
            goal.sendall(data)
    with suppress(OSError):
        goal.shutdown(socket.SHUT_WR)


@contextmanager
def laid(port: int) -> Iterator[Line]:
    """A line to a port for the length of a block."""
    line = Line(port)
    try:
        yield line
    finally:
        line.close()
