"""The process that decodes what strangers send, one fork for each file.

It is started once, imports what decoding needs, and then forks for every file it is handed: a fork costs milliseconds,
where a new interpreter would cost half a second. The fork confines itself before it reads the first byte. It is given
descriptors and never a path, and its environment holds nothing of the server's.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import signal
import socket
import sys
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

BYTES_A_SECOND = 2 * SAMPLE_RATE
MEMORY = 768 << 20
"""Address space beyond what the imports take: an hour of the worst codec needs a tenth."""
FULL_SCALE = 32_768
_ROUNDING_SECONDS = 1.0
_HANDED = 3


@dataclass(frozen=True)
class Bounds:
    """What one file may cost."""

    audio_seconds: float

    @property
    def cpu_seconds(self) -> int:
        """A thirtieth of the audio's length, ten times what a slow core takes for MP3; and half a minute to start."""
        return 30 + int(self.audio_seconds / 30)

    @property
    def wall_seconds(self) -> int:
        """A machine that is busy otherwise may take four times as long."""
        return 4 * self.cpu_seconds


class _Refused(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main(arguments: list[str]) -> None:
    """Fork for each set of three descriptors (source, destination, answer) that comes over the socket on stdin."""
    bounds = Bounds(float(arguments[0]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to deal with
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, _HANDED)
        if not message:
            return
        if len(descriptors) == _HANDED and os.fork() == 0:
            control.close()
            _one((descriptors[0], descriptors[1], descriptors[2]), bounds)
        for descriptor in descriptors:
            os.close(descriptor)


def _one(descriptors: tuple[int, int, int], bounds: Bounds) -> NoReturn:
    """Decode one file in this process, say what came of it, and end."""
    source, destination, answer = descriptors
    status = 1
    with contextlib.suppress(BaseException):
        _say(answer, {"pid": os.getpid()})
        confine(
            memory=MEMORY,
            cpu_seconds=bounds.cpu_seconds,
            wall_seconds=bounds.wall_seconds,
            file_bytes=int(bounds.audio_seconds * BYTES_A_SECOND) + (1 << 20),
            descriptors=max(descriptors),
        )
        _say(answer, _outcome(source, destination, bounds))
        status = 0
    os._exit(status)


def _outcome(source: int, destination: int, bounds: Bounds) -> dict[str, Any]:
    try:
        return decode(source, destination, bounds.audio_seconds)
    except _Refused as refusal:
        return {"refused": refusal.kind, "message": str(refusal)}
    except AudioUnreadableError as error:
        return {"refused": "empty" if "0 samples" in str(error) else "unreadable", "message": str(error)}
    except MemoryError:
        return {"refused": "too_heavy", "message": "it takes more memory to decode than any recording should"}
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return {"refused": "no_space" if full else "unreadable", "message": "it could not be decoded"}


def decode(source: int, destination: int, most: float) -> dict[str, Any]:
    """Write a recording as 16 kHz mono 16-bit samples, without a header.

    Args:
        source: descriptor of the file.
        destination: descriptor to write to.
        most: seconds it may last.

    Returns:
        ``seconds``, ``repaired_samples``, ``skipped_frames``, ``missing_seconds`` by what the header announced.

    Raises:
        _Refused: the file is empty, or lasts longer, or says it does.
        AudioUnreadableError: it is no audio, or holds not one sample.
    """
    if os.fstat(source).st_size == 0:
        raise _Refused("empty", "the file is empty (0 bytes)")
    damage = Damage()
    samples = 0
    with source_of(source) as opened:
        announced = None if opened.info.duration_ms is None else opened.info.duration_ms / 1000
        if announced is not None and announced > most + _ROUNDING_SECONDS:
            raise _too_long(most)
        for block in _bounded(resampled(opened, damage), most):
            samples += len(block)
            _write(destination, np.clip(np.rint(block * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2"))
    seconds = samples / SAMPLE_RATE
    missing = 0.0 if announced is None else max(0.0, announced - seconds)
    return {
        "seconds": seconds,
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


def _say(descriptor: int, fields: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(fields).encode() + b"\n")


READERS = (ffmpeg, sndfile)
"""Imported before the first fork: a confined process can't read a module from disk."""

if __name__ == "__main__":
    main(sys.argv[1:])
