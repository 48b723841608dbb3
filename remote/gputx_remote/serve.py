"""A worker behind a Unix socket: the model is loaded once, clients come and go.

``PATH.starting`` stands while a server is being prepared; whoever is about to start one may create it early
(user-data does so before it fetches the payload). ``PATH`` itself appears only once connections are accepted.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gputx_remote import ending, protocol, worker
from gputx_remote.errors import EngineUnavailableError, ModelUnavailableError, ProtocolError
from gputx_remote.worker import ModelOptions


def starting(path: Path) -> Path:
    """The marker of a server that is being prepared."""
    return path.with_name(path.name + ".starting")


def run(options: ModelOptions, path: Path) -> int:
    """Serve until a client says ``quit``, the model can't be loaded, or a signal ends it.

    Raises:
        OSError: the socket can't be made.
    """
    if _answers(path):
        print(f"a worker is already listening on {path}", file=sys.stderr)
        return 1
    with _our(path):
        with _our(starting(path)) as marker:
            marker.touch(mode=0o600)
            listener = listen(path)
        with listener:
            return _serve(options, listener)


@contextmanager
def _our(path: Path) -> Iterator[Path]:
    """A file that is removed when the block ends, or a signal the process."""
    ending.remove_at_end(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        ending.keep_at_end(path)


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path`` that only its owner can use."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(unfinished))
    finally:
        os.umask(mask)
    listener.listen(8)
    # Under its own name only now: whoever sees the socket can connect to it.
    unfinished.rename(path)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _serve(options: ModelOptions, listener: socket.socket) -> int:
    audience = _Audience(listener)
    protocol.hello(audience.emit)
    threading.Thread(target=audience.admit, daemon=True).start()
    try:
        engine = worker.load(options, audience.emit)
    except (ModelUnavailableError, EngineUnavailableError) as error:
        return worker.fatal(error, audience.emit)
    audience.end_prologue()
    while True:
        client = audience.next()
        try:
            with client.makefile("rb") as lines:
                if worker.obey(lines, engine, audience.emit):
                    return 0
        except ProtocolError as error:
            return worker.fatal(error, audience.emit)
        except OSError as error:
            # The connection was cut: what it asked for is dropped, the model stays for the next client.
            print(f"a client has gone: {error}", file=sys.stderr)
        finally:
            audience.dismiss(client)


class _Audience:
    """Whoever is attached, one client at a time. Each first hears the prologue: hello, model and notes."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._prologue: list[bytes] = []
        self._recording = True
        self._client: socket.socket | None = None
        self._waiting: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._free = threading.Semaphore(0)

    def admit(self) -> None:
        """Take clients one after another, in a thread of its own: one may watch the model load."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed: the server ends
                return
            with self._lock:
                try:
                    client.sendall(b"".join(self._prologue))
                    self._client = client
                except OSError as error:
                    print(f"a client has gone: {error}", file=sys.stderr)
            self._waiting.put(client)
            self._free.acquire()

    def next(self) -> socket.socket:
        """Wait for a client."""
        return self._waiting.get()

    def dismiss(self, client: socket.socket) -> None:
        """End a client's turn."""
        with self._lock:
            self._client = None
            client.close()
        self._free.release()

    def end_prologue(self) -> None:
        """What is said from now on concerns one client only and is not repeated to the next."""
        with self._lock:
            self._recording = False

    def emit(self, event: str, /, **fields: Any) -> None:
        """Send an event to the client there is.

        Raises:
            OSError: it has gone. Not during the prologue: the model is loaded for the next one too.
        """
        line = protocol.encode(event, fields)
        with self._lock:
            if self._recording:
                self._prologue.append(line)
            if self._client is None:
                return
            try:
                self._client.sendall(line)
            except OSError:
                self._client = None
                if not self._recording:
                    raise
