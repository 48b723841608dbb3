"""The process that forks for each file, from the server's side (:mod:`decoding_child` is the other)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from typing import IO

_START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
_START += "from gputx_remote.server import decoding_child; decoding_child.main(sys.argv[1:])"
_SEND_SECONDS = 5.0
_TAIL_LINES = 8
_LINE_BYTES = 400


class Forks:
    """A process that has imported what decoding needs, and forks for each file. Thread-safe; ``close`` ends it, and
    with it all its forks."""

    def __init__(self, *arguments: str) -> None:
        """
        Args:
            arguments: of :func:`gputx_remote.server.decoding_child.main`.

        Raises:
            OSError: no process can be started.
        """
        self._lock = threading.Lock()
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_SEND_SECONDS)
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _START, json.dumps(sys.path), *arguments],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                    start_new_session=True,
                )
        except OSError:
            self._control.close()
            raise
        assert self.process.stderr is not None  # noqa: S101 - as it was asked for
        self._reading = threading.Thread(target=self._read, args=(self.process.stderr,), name="decoder", daemon=True)
        self._reading.start()

    def hand(self, number: int, *descriptors: int) -> None:
        """Have a file decoded.

        Args:
            number: what :meth:`kill` calls it; no other has it.
            descriptors: its source, its destination, where its decoder answers, and where this process reports on it.

        Raises:
            OSError: the process has ended.
        """
        with self._lock:
            socket.send_fds(self._control, [struct.pack("<I", number)], descriptors)

    def kill(self, number: int) -> None:
        """End a file's fork, if it still runs. The process that forked does it: it alone knows which one that is, and
        that nobody else has its number by now."""
        with self._lock, contextlib.suppress(OSError):
            self._control.sendall(struct.pack("<I", number))

    def tail(self) -> str:
        """The last lines of what it had to say, once it has ended."""
        self._reading.join(timeout=1.0)
        return b"".join(self._tail).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """End it. May be called twice."""
        with self._lock:
            self._control.close()
            if self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.kill()
                self.process.wait()

    def _read(self, stderr: IO[bytes]) -> None:
        with stderr:
            while line := stderr.readline(_LINE_BYTES):
                self._tail.append(line)
