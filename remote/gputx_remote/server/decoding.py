"""From what a client sent to samples: decoded in a process that can do nothing else (:mod:`decoding_child`).

What comes back is bare 16-bit samples, so that no parser of the server ever sees a byte a client chose.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import math
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gputx_remote.server.forks import Forks
from gputx_remote.server.limits import RESERVE_BYTES, Limits
from gputx_remote.server.pcm import BYTES_A_SECOND
from gputx_remote.server.turns import Turns

_ANSWER_BYTES = 4096
_MESSAGE_LENGTH = 300
_ATTEMPTS = 2
_NUMBERS = 1 << 32
_KINDS = frozenset(("unreadable", "empty", "too_long", "too_heavy", "no_space"))
_DIED = "decoding it took more time or memory than any recording of this length should, or it broke the decoder"
_UNAVAILABLE = "the server can't decode audio just now; try again in a moment"

log = logging.getLogger("gputx.server")


class AudioRefusedError(Exception):
    """An upload is no audio this server transcribes."""

    def __init__(self, kind: str, message: str) -> None:
        """
        Args:
            kind: ``unreadable``, ``empty`` (not one sample), ``too_long``, ``too_heavy`` (time, memory, or a crash of
                the decoder over it); ``no_space`` and ``unavailable`` (the decoder breaks whatever it is given) are
                the server's own trouble.
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


class _BrokenError(Exception):
    """The decoder ended, and not over this file."""


class AudioDecoder:
    """Decodes uploads, a few at once. ``close`` ends its process."""

    def __init__(self, directory: Path, limits: Limits, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        """
        Args:
            directory: where decoded audio goes, under names made here.
            limits: ``audio_seconds`` and ``decoding`` of them.
            reserve_bytes: of the disk, to be left free.
        """
        self._directory = directory
        self._limits = limits
        self._arguments = (str(limits.audio_seconds), str(reserve_bytes))
        self._turns = Turns(limits.decoding)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._forks: Forks | None = None
        self._closed = False

    async def decode(self, upload: Path, owner: str = "") -> Decoded:
        """Decode a file. The upload stays the caller's to remove; what is returned is, too.

        Args:
            upload: the file.
            owner: whose it is: owners are served in turn.

        Raises:
            AudioRefusedError: it is no audio that can be decoded within the limits.
        """
        async with self._turns.turn(owner, upload.stat().st_size):
            work = _Work()
            try:
                return await asyncio.to_thread(self._decode, upload, work)
            except asyncio.CancelledError:
                work.give_up()
                raise

    def start(self) -> None:
        """Start the process ahead of the first upload."""
        self._running()

    def close(self) -> None:
        """End the process; what it is decoding ends with an AudioRefusedError."""
        with self._lock:
            self._closed = True
            forks, self._forks = self._forks, None
        if forks is not None:
            forks.close()

    def _decode(self, upload: Path, work: _Work) -> Decoded:
        for attempt in range(_ATTEMPTS):
            destination = self._directory / f"{secrets.token_hex(16)}.pcm"
            try:
                decoded = self._attempt(upload, destination, work)
            except _BrokenError as error:
                destination.unlink(missing_ok=True)
                if work.given_up or self._closed:
                    break
                log.exception("decoding broke", extra={"attempt": attempt + 1, "why": str(error)})
            except OSError as error:
                destination.unlink(missing_ok=True)
                raise AudioRefusedError("no_space", "the server has no room to decode it") from error
            except BaseException:
                destination.unlink(missing_ok=True)
                raise
            else:
                if work.given_up:
                    destination.unlink(missing_ok=True)
                return decoded
        raise AudioRefusedError("unavailable", _UNAVAILABLE)

    def _attempt(self, upload: Path, destination: Path, work: _Work) -> Decoded:
        """Raises _BrokenError, AudioRefusedError, OSError."""
        number = next(self._numbers) % _NUMBERS
        with ExitStack() as held:
            output = held.enter_context(destination.open("xb"))
            source = held.enter_context(upload.open("rb"))
            (answer, answering), (report, reporting) = os.pipe(), os.pipe()
            answers = held.enter_context(os.fdopen(answer, "rb"))
            reports = held.enter_context(os.fdopen(report, "rb"))
            try:
                forks = self._hand(number, source.fileno(), output.fileno(), answering, reporting)
            finally:
                os.close(answering)
                os.close(reporting)
            with work.under_way(lambda: forks.kill(number)):
                said = answers.readline(_ANSWER_BYTES)
                if said:
                    # It has nothing left to do, and may write no more while the result is looked at.
                    forks.kill(number)
                end = json.loads(reports.readline() or "{}")
            size = os.fstat(output.fileno()).st_size
        if said:
            return self._judged(said, destination, size)
        if not end:
            raise _BrokenError(f"its process ended: {self._retire(forks) or 'it said nothing'}")
        if end["end"] == "broken":
            raise _BrokenError(f"a fork ended with {end.get('status', end.get('errno'))}")
        raise AudioRefusedError("too_heavy", _DIED)

    def _judged(self, answer: bytes, destination: Path, size: int) -> Decoded:
        """What a fork says, which strangers may have made it say: its length is what it wrote, and the rest has to be
        what it would be."""
        try:
            said = json.loads(answer)
            kind = said.get("refused")
            if kind is None:
                repaired, skipped = int(said["repaired_samples"]), int(said["skipped_frames"])
                missing = float(said["missing_seconds"])
                if min(repaired, skipped, missing) < 0 or not math.isfinite(missing):
                    kind = "too_heavy"
            message = str(said.get("message") or _DIED).splitlines()[0][:_MESSAGE_LENGTH]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, IndexError):
            raise AudioRefusedError("too_heavy", _DIED) from None
        if kind is not None:
            if fault := said.get("fault"):
                log.warning("a file no reader was ready for", extra={"fault": str(fault)[:_MESSAGE_LENGTH]})
            raise AudioRefusedError(str(kind) if str(kind) in _KINDS else "too_heavy", message)
        seconds = size / BYTES_A_SECOND
        if not size:
            raise AudioRefusedError("empty", "it holds 0 samples")
        if seconds > self._limits.audio_seconds:
            raise AudioRefusedError("too_long", "it is longer than this server takes at once")
        return Decoded(destination, seconds, repaired, skipped, missing)

    def _hand(self, number: int, *descriptors: int) -> Forks:
        """Raises _BrokenError: no process takes it."""
        forks = self._running()
        try:
            forks.hand(number, *descriptors)
        except OSError as error:
            # It was killed, by the machine's lack of memory perhaps: a new one takes its place.
            raise _BrokenError(f"its process is gone: {self._retire(forks)}") from error
        return forks

    def _running(self) -> Forks:
        with self._lock:
            if self._closed:
                raise _BrokenError("it is closed")
            if self._forks is None:
                try:
                    self._forks = Forks(*self._arguments)
                except OSError as error:
                    raise _BrokenError(f"no process can be started: {error.strerror}") from error
            return self._forks

    def _retire(self, forks: Forks) -> str:
        """Another takes its place; what it had to say."""
        with self._lock:
            if self._forks is forks:
                self._forks = None
        forks.close()
        return forks.tail()


class _Work:
    """One file being decoded; may be given up from another thread."""

    def __init__(self) -> None:
        self.given_up = False
        self._lock = threading.Lock()
        self._kill: Callable[[], None] | None = None

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self.given_up = True
            if self._kill is not None:
                self._kill()

    @contextmanager
    def under_way(self, kill: Callable[[], None]) -> Iterator[None]:
        """A block in which ``kill`` would end it."""
        with self._lock:
            self._kill = kill
            if self.given_up:
                kill()
        try:
            yield
        finally:
            with self._lock:
                self._kill = None
