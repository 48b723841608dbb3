"""The process that decodes what strangers send, one fork for each file.

It is started once, imports what decoding needs, and then forks for every file it is handed: a fork costs milliseconds,
where a new interpreter would cost half a second. The fork confines itself before it reads the first byte. It is given
descriptors and never a path, and its environment holds nothing of the server's. How a fork ended is said by the process
that forked it, which no file has touched, and which alone ends one.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

# PyAV imports these when it opens its first file, which a fork that is confined can't.
import av.subtitles.codeccontext
import av.subtitles.stream  # noqa: F401
import numpy as np

from gputx_remote.audio import ffmpeg, sndfile
from gputx_remote.audio.opening import source_of
from gputx_remote.audio.source import Damage, FloatArray
from gputx_remote.audio.stream import SAMPLE_RATE, resampled
from gputx_remote.errors import AudioUnreadableError
from gputx_remote.server.confinement import confine
from gputx_remote.server.pcm import BYTES_A_SECOND

MEMORY = 768 << 20
"""Address space beyond what the imports take: an hour of the worst codec needs a tenth."""
FULL_SCALE = 32_768
_ROUNDING_SECONDS = 1.0
_HANDED = 4
_NUMBER_BYTES = 4
_OF_THE_FILE = {
    signal.SIGALRM, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE,
    signal.SIGILL, signal.SIGTRAP, signal.SIGSYS,
}  # fmt: skip
"""A limit that was reached, or a decoder that broke over the file, often for want of the memory it may not have."""


@dataclass(frozen=True)
class Bounds:
    """What one file may cost."""

    audio_seconds: float
    reserve_bytes: int = 0
    """Of the disk, to be left free."""

    @property
    def cpu_seconds(self) -> int:
        """A thirtieth of the audio's length, ten times what a slow core takes for MP3; and half a minute to start."""
        return 30 + int(self.audio_seconds / 30)

    @property
    def wall_seconds(self) -> int:
        """A machine that is busy otherwise may take four times as long."""
        return 4 * self.cpu_seconds

    def file_bytes(self, destination: int) -> int:
        """What may be written to this descriptor: so much audio, and no more than there is room for."""
        return max(
            0, min(int(self.audio_seconds * BYTES_A_SECOND) + (1 << 20), _free(destination) - self.reserve_bytes)
        )


class _Refused(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main(arguments: list[str]) -> None:
    """Fork for each set of four descriptors (source, destination, answer, report) that comes over the socket on stdin
    with a number; a number that comes alone ends its fork. Ends when the socket does, and its forks with it."""
    bounds = Bounds(float(arguments[0]), int(arguments[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to deal with
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    gc.collect()
    gc.freeze()
    _Forking(control, bounds).run()


class _Forking:
    """The forks there are, by the number the server knows them by."""

    def __init__(self, control: socket.socket, bounds: Bounds) -> None:
        self._control = control
        self._bounds = bounds
        self._pids: dict[int, int] = {}
        self._reports: dict[int, int] = {}
        # A signal for each fork that ends, as a byte to wait for.
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._control:
                        if not self._hear():
                            return
                    else:
                        with contextlib.suppress(BlockingIOError):
                            os.read(self._woken, 4096)
                        self._bury()

    def _hear(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, _NUMBER_BYTES, _HANDED)
        if not message:
            for pid in self._pids.values():
                os.kill(pid, signal.SIGKILL)
            return False
        (number,) = struct.unpack("<I", message)
        if len(descriptors) == _HANDED:
            self._fork(number, descriptors)
        elif number in self._pids:
            os.kill(self._pids[number], signal.SIGKILL)  # not buried yet, so nobody else has this pid
        return True

    def _fork(self, number: int, descriptors: list[int]) -> None:
        *work, report = descriptors
        try:
            pid = os.fork()
        except OSError as error:
            _say(report, {"end": "broken", "errno": error.errno})
            os.close(report)
        else:
            if pid == 0:
                self._leave(report)
                _one((work[0], work[1], work[2]), self._bounds)
            self._pids[number], self._reports[number] = pid, report
        for descriptor in work:
            os.close(descriptor)

    def _leave(self, report: int) -> None:
        """In the fork: nothing that belongs to the others."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        for descriptor in (report, self._woken, self._waking, *self._reports.values()):
            os.close(descriptor)

    def _bury(self) -> None:
        for number, pid in [*self._pids.items()]:
            found, status, used = os.wait4(pid, os.WNOHANG)
            if not found:
                continue
            del self._pids[number]
            report = self._reports.pop(number)
            _say(report, _end(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, self._bounds))
            os.close(report)


def _end(status: int, cpu_seconds: float, bounds: Bounds) -> dict[str, Any]:
    """How a fork ended: ``whole``; at its ``limit``, which is its file's doing; or ``broken``, which is not."""
    if status == 0:
        return {"end": "whole"}
    over = -status in _OF_THE_FILE or (-status == signal.SIGKILL and cpu_seconds >= bounds.cpu_seconds - 1)
    return {"end": "limit" if over else "broken", "status": status}


def _one(descriptors: tuple[int, int, int], bounds: Bounds) -> NoReturn:
    """Decode one file in this process, say what came of it, and end."""
    source, destination, answer = descriptors
    status = 1
    try:
        confine(
            memory=MEMORY,
            cpu_seconds=bounds.cpu_seconds,
            wall_seconds=bounds.wall_seconds,
            file_bytes=bounds.file_bytes(destination),
            descriptors=max(descriptors),
        )
        _say(answer, _outcome(source, destination, bounds))
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it is said to the server's log and ends here
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    os._exit(status)


def _outcome(source: int, destination: int, bounds: Bounds) -> dict[str, Any]:
    try:
        return decode(source, destination, bounds)
    except _Refused as refusal:
        return {"refused": refusal.kind, "message": str(refusal)}
    except AudioUnreadableError as error:
        return {"refused": "empty" if "0 samples" in str(error) else "unreadable", "message": str(error)}
    except MemoryError:
        return {"refused": "too_heavy", "message": "it takes more memory to decode than any recording should"}
    except OSError as error:
        # Its length is bounded in samples, so that a file that may not grow has met the end of the disk.
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        return {"refused": "no_space" if full else "unreadable", "message": "it could not be decoded"}
    except Exception as error:  # noqa: BLE001 - a file no reader was ready for, and not a decoder that is broken
        return {"refused": "unreadable", "message": "it could not be decoded", "fault": type(error).__name__}


def decode(source: int, destination: int, bounds: Bounds) -> dict[str, Any]:
    """Write a recording as 16 kHz mono 16-bit samples, without a header.

    Args:
        source: descriptor of the file.
        destination: descriptor to write to.
        bounds: seconds it may last, and room to leave.

    Returns:
        ``repaired_samples``, ``skipped_frames``, ``missing_seconds`` by what the header announced.

    Raises:
        _Refused: the file is empty, or lasts longer, or says it does.
        AudioUnreadableError: it is no audio, or holds not one sample.
    """
    if os.fstat(source).st_size == 0:
        raise _Refused("empty", "the file is empty (0 bytes)")
    damage = Damage()
    most = bounds.audio_seconds
    samples = 0
    with source_of(source) as opened:
        announced = None if opened.info.duration_ms is None else opened.info.duration_ms / 1000
        if announced is not None and announced > most + _ROUNDING_SECONDS:
            raise _too_long(most)
        for block in _bounded(resampled(opened, damage), most):
            samples += len(block)
            if _free(destination) < bounds.reserve_bytes:
                raise OSError(errno.ENOSPC, "reserve")
            _write(destination, np.clip(np.rint(block * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2"))
    seconds = samples / SAMPLE_RATE
    missing = 0.0 if announced is None else max(0.0, announced - seconds)
    return {
        "repaired_samples": damage.repaired_samples,
        "skipped_frames": damage.skipped_frames,
        "missing_seconds": missing if missing > 0.5 else 0.0,
    }


def _bounded(blocks: Iterator[FloatArray], most: float) -> Iterator[FloatArray]:
    room = round(most * SAMPLE_RATE)
    for block in blocks:
        room -= len(block)
        if room < 0:
            raise _too_long(most)
        yield block


def _too_long(most: float) -> _Refused:
    return _Refused("too_long", f"it is longer than the {most / 3600:.3g} h of audio this server takes at once")


def _write(descriptor: int, samples: np.ndarray[Any, np.dtype[np.int16]]) -> None:
    view = memoryview(samples.tobytes())
    while view:
        view = view[os.write(descriptor, view) :]


def _free(descriptor: int) -> int:
    """Bytes that are left on the disk of a file."""
    disk = os.fstatvfs(descriptor)
    return disk.f_bavail * disk.f_frsize


def _say(descriptor: int, fields: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(descriptor, json.dumps(fields).encode() + b"\n")


READERS = (ffmpeg, sndfile)
"""Imported before the first fork: a confined process can't read a module from disk."""

if __name__ == "__main__":
    main(sys.argv[1:])
