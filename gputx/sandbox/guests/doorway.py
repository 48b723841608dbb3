"""The one way out of a guest's own network: to the account, at the address it has out here."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

# What a guest may have open at a time; more than that waits to be accepted.
_CONNECTIONS = 64
_CHUNK_BYTES = 256 * 1024


class Doorway:
    """Connects who connects to ``target`` inside a guest's network to ``target`` out here.

    ``network.py`` makes the listening socket in there and hands it out; it is accepted from here, so nothing else of
    either side can be reached from the other.

    Args:
        target: None where the guest shares this machine's network, or has nowhere to go.
    """

    def __init__(self, target: tuple[str, int] | None) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        self._pair: tuple[socket.socket, ...] = socket.socketpair() if target else ()

    def __enter__(self) -> Doorway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            if self._listener is not None:
                self._shut(self._listener)
        for end in self._pair:
            self._shut(end)
            end.close()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the guest's first command has to inherit."""
        return tuple(end.fileno() for end in self._pair[1:])

    @property
    def port(self) -> int:
        return self._target[1] if self._target else 0

    def open(self) -> None:
        """Begin to wait for the listening socket; the guest's end has been inherited by now."""
        if self._pair:
            self._pair[1].close()
            threading.Thread(target=self._serve, name="doorway", daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the guest has ended, or never came this far
            _, descriptors, _, _ = socket.recv_fds(self._pair[0], 1, 1)
            if not descriptors:
                return
            with socket.socket(fileno=descriptors[0]) as listener:
                with self._lock:
                    if self._closed:
                        return
                    self._listener = listener
                while True:
                    self._free.acquire()
                    inside, _ = listener.accept()
                    threading.Thread(target=self._connect, args=(inside,), name="doorway", daemon=True).start()

    def _connect(self, inside: socket.socket) -> None:
        with inside, contextlib.suppress(OSError), socket.create_connection(self._target or ("", 0)) as outside:
            for end in (inside, outside):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._pump, args=(outside, inside), name="doorway", daemon=True)
            back.start()
            self._pump(inside, outside)
            back.join()
        self._free.release()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
            return
        # One side is gone: the other has nobody to talk to.
        for end in (source, sink):
            self._shut(end)

    @staticmethod
    def _shut(end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
