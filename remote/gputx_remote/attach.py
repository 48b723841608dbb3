"""stdin and stdout of a served worker. Where none is served, it becomes a plain worker itself."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

from gputx_remote import protocol, worker
from gputx_remote.serve import starting
from gputx_remote.worker import ModelOptions, write_all

STARTING_SECONDS = 10.0
POLL_SECONDS = 0.02
CHUNK = 1 << 16


def run(options: ModelOptions, path: Path, *, patience: float = STARTING_SECONDS) -> int:
    """Attach to the worker at ``path``, or be one.

    Args:
        options: used only where no worker is served.
        path: its socket.
        patience: seconds to wait for a server that is being prepared.

    Returns:
        The exit status: 0, 3 after a ``fatal`` event, 1 when the server went away before it was told to end.
    """
    client = _connect(path, patience)
    if client is None:
        return worker.run(options, sys.stdin.buffer, worker.stdout_events())
    with client:
        return _Pump(client).run()


def _connect(path: Path, patience: float) -> socket.socket | None:
    deadline = time.monotonic() + patience
    while True:
        # Looked at before connecting: the marker goes only after the socket has come.
        expected = starting(path).exists()
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
        except OSError:
            client.close()
        else:
            return client
        if not expected or time.monotonic() >= deadline:
            return None
        time.sleep(POLL_SECONDS)


class _Pump:
    """Bytes both ways between the standard streams and a socket, each as soon as it is there."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._told_to_end = threading.Event()

    def run(self) -> int:
        # A daemon: nothing may wait for a read of stdin that never returns.
        threading.Thread(target=self._send, daemon=True).start()
        tail = b""
        try:
            while data := self._client.recv(CHUNK):
                write_all(sys.stdout.fileno(), data)
                tail = (tail + data)[-CHUNK:]
        except BrokenPipeError:
            return 1
        except ConnectionResetError:
            print("the worker's connection was cut", file=sys.stderr)
            return 1
        if _is_fatal(tail.splitlines()[-1] if tail else b""):
            return protocol.FATAL
        return 0 if self._told_to_end.is_set() else 1

    def _send(self) -> None:
        try:
            while data := os.read(sys.stdin.fileno(), CHUNK):
                if b'"quit"' in data:
                    self._told_to_end.set()
                self._client.sendall(data)
            self._told_to_end.set()
            self._client.shutdown(socket.SHUT_WR)
        except OSError as error:
            print(f"the worker takes no more commands: {error}", file=sys.stderr)


def _is_fatal(line: bytes) -> bool:
    try:
        event = json.loads(line)
    except ValueError:
        return False
    return isinstance(event, dict) and event.get("event") == "fatal"
