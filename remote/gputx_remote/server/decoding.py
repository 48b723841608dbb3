"""From what a client sent to samples: decoded in a process that can do nothing else (:mod:`decoding_child`).

What comes back is bare 16-bit samples, so that no parser of the server ever sees a byte a client chose.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gputx_remote.server.limits import Limits

_START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
_START += "from gputx_remote.server import decoding_child; decoding_child.main(sys.argv[1:])"
_ANSWER_BYTES = 4096
_DIED = "decoding it took more time or memory than any recording of this length should, or it broke the decoder"


class AudioRefusedError(Exception):
    """An upload is no audio this server transcribes."""

    def __init__(self, kind: str, message: str) -> None:
        """
        Args:
            kind: ``unreadable``, ``empty`` (not one sample), ``too_long``, ``too_heavy`` (time, memory, or a crash of
                the decoder); ``no_space`` is the server's own trouble.
            message: one line, without a path.
        """
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Decoded:
    """Bare samples: 16 kHz mono, 16-bit little-endian."""

    path: Path
    seconds: float
    repaired_samples: int
    """Samples that were NaN or infinite and became zero."""
    skipped_frames: int
    """Codec frames that could not be decoded and are left out."""
    missing_seconds: float
    """What the header announced and the file does not hold."""


class AudioDecoder:
    """Decodes uploads, a few at once. ``close`` ends its process."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        """
        Args:
            directory: where decoded audio goes, under names made here.
            limits: ``audio_seconds`` and ``decoding`` of them.
        """
        self._directory = directory
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.decoding)
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def decode(self, upload: Path) -> Decoded:
        """Decode a file. The upload stays the caller's to remove; what is returned is, too.

        Raises:
            AudioRefusedError: it is no audio that can be decoded within the limits.
        """
        async with self._turns:
            work = _Work(self._directory / f"{secrets.token_hex(16)}.pcm")
            try:
                said = await asyncio.to_thread(self._decode, upload, work)
            except asyncio.CancelledError:
                work.give_up()
                raise
        return self._judged(said, work.destination)

    def start(self) -> None:
        """Start the process ahead of the first upload."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the process; what it is decoding ends with an AudioRefusedError."""
        with self._lock:
            self._end()

    def _judged(self, said: dict[str, Any], destination: Path) -> Decoded:
        if "seconds" in said:
            return Decoded(destination, **said)
        destination.unlink(missing_ok=True)
        raise AudioRefusedError(said.get("refused", "too_heavy"), said.get("message", _DIED))

    def _decode(self, upload: Path, work: _Work) -> dict[str, Any]:
        try:
            with work.destination.open("xb") as destination, upload.open("rb") as source:
                ours, theirs = os.pipe()
                with os.fdopen(ours, "rb") as answer:
                    try:
                        self._hand(source.fileno(), destination.fileno(), theirs)
                    finally:
                        os.close(theirs)
                    said = work.read(answer)
        except OSError as error:
            work.destination.unlink(missing_ok=True)
            raise AudioRefusedError("no_space", "the server has no room to decode it") from error
        if work.given_up:
            work.destination.unlink(missing_ok=True)
        return said

    def _hand(self, *descriptors: int) -> None:
        with self._lock:
            try:
                socket.send_fds(self._running(), [b"."], descriptors)
            except OSError:
                # The process was killed, by the machine's lack of memory perhaps: a new one takes its place.
                self._end()
                socket.send_fds(self._running(), [b"."], descriptors)

    def _running(self) -> socket.socket:
        if self._control is not None:
            return self._control
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, json.dumps(sys.path), str(self._limits.audio_seconds)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self._control = ours
        return ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


class _Work:
    """One file being decoded; may be given up from another thread."""

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.given_up = False
        self._lock = threading.Lock()
        self._pid: int | None = None

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self.given_up = True
            self._kill()

    def read(self, answer: Any) -> dict[str, Any]:
        """What the process says in the end; nothing where it died."""
        lines = iter(lambda: answer.readline(_ANSWER_BYTES), b"")
        for line in lines:
            said: dict[str, Any] = json.loads(line)
            if "pid" not in said:
                with self._lock:
                    self._pid = None
                return said
            with self._lock:
                self._pid = said["pid"]
                if self.given_up:
                    self._kill()
        with self._lock:
            self._pid = None
        return {}

    def _kill(self) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
