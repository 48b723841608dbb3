"""Make any recording ready for the wire: 16 kHz mono 16-bit FLAC, which loses nothing Whisper would hear."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from gputx_remote.audio.opening import open_source
from gputx_remote.audio.source import Damage, FloatArray
from gputx_remote.audio.stream import SAMPLE_RATE, Channel, resampled
from gputx_remote.errors import AudioUnreadableError

FULL_SCALE = 32_768
# A header may round its duration; less than this is no sign of a truncated file.
ANNOUNCED_TOLERANCE_MS = 500


@dataclass(frozen=True)
class Prepared:
    """A recording as it goes to the worker."""

    path: Path
    duration_ms: int
    source_bytes: int
    bytes: int
    sha256: str
    skipped_frames: int
    """Codec frames that could not be decoded and are left out."""
    repaired_samples: int
    """Samples that were NaN or infinite and became zero."""
    missing_ms: int
    """What the header announced and the file does not hold: a truncated download. 0 where it is complete."""


def prepare(
    source: Path,
    destination: Path,
    *,
    channel: Channel | None = None,
    progress: Callable[[float, float | None], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Prepared:
    """Decode ``source`` and write it to ``destination`` as 16 kHz mono 16-bit FLAC.

    Args:
        source: any audio file, or a video with an audio track.
        destination: the file to write; nothing is left there unless the whole succeeded.
        channel: the one channel to take; None for the average of all.
        progress: called with (seconds done, seconds in all or None) after each block of a few seconds.
        check: called before each block; whatever it raises ends the work and passes through.

    Raises:
        AudioUnreadableError: the source is no audio or has no such channel, or the destination can't be written.
    """
    damage = Damage()
    try:
        with open_source(source) as opened, destination.open("w+b") as file:
            announced = opened.info.duration_ms
            total = None if announced is None else announced / 1000
            sink = _Sink(file)
            with soundfile.SoundFile(sink, "w", SAMPLE_RATE, 1, format="FLAC", subtype="PCM_16") as flac:
                samples = 0
                for block in resampled(opened, damage, channel=channel):
                    if check is not None:
                        check()
                    flac.write(_pcm16(block))
                    sink.raise_failure()
                    samples += len(block)
                    if progress is not None:
                        progress(samples / SAMPLE_RATE, total)
            sink.raise_failure()
            file.flush()
    except BaseException as error:
        if destination.is_file():  # never a device such as /dev/full
            destination.unlink()
        if isinstance(error, OSError | soundfile.LibsndfileError):
            raise AudioUnreadableError(_unwritable(error)) from error
        raise
    duration_ms = round(samples * 1000 / SAMPLE_RATE)
    missing_ms = 0 if announced is None else announced - duration_ms
    with destination.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Prepared(
        path=destination,
        duration_ms=duration_ms,
        source_bytes=source.stat().st_size,
        bytes=destination.stat().st_size,
        sha256=digest,
        skipped_frames=damage.skipped_frames,
        repaired_samples=damage.repaired_samples,
        missing_ms=missing_ms if missing_ms > ANNOUNCED_TOLERANCE_MS else 0,
    )


def _pcm16(block: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Float samples as 16-bit ones. Clipped here, because libsndfile would let them wrap round."""
    return np.clip(np.rint(block * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _unwritable(error: OSError | soundfile.LibsndfileError) -> str:
    number = getattr(error, "errno", None)
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return "no space left on the disk for the prepared audio"
    return f"the prepared audio can't be written: {os.strerror(number) if number else error}"


class _Sink:
    """A file for soundfile to write to that keeps the real error: libsndfile's callbacks would swallow it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._failure: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._failure is not None:
            return 0
        try:
            return self._file.write(data)
        except OSError as error:
            self._failure = error
            return 0

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:  # a seek flushes what was buffered
            self._failure = self._failure or error
            return 0

    def tell(self) -> int:
        return self._file.tell()

    def raise_failure(self) -> None:
        """Raise what a callback met, with its own number."""
        if self._failure is not None:
            raise self._failure
