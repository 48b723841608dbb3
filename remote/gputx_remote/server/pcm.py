"""Bare samples on disk, as decoded audio lies while its job lasts."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gputx_remote.audio.recording import Recording
from gputx_remote.audio.source import BLOCK_SECONDS, FloatArray
from gputx_remote.audio.stream import SAMPLE_RATE
from gputx_remote.errors import AudioUnreadableError

FULL_SCALE = 32_768
_BYTES = 2
BYTES_A_SECOND = _BYTES * SAMPLE_RATE


def recording(path: Path) -> Recording:
    """What :mod:`decoding` wrote."""
    samples = path.stat().st_size // _BYTES

    def blocks() -> Iterator[FloatArray]:
        try:
            with path.open("rb") as file:
                while data := file.read(BLOCK_SECONDS * SAMPLE_RATE * _BYTES):
                    yield floats(data)
        except OSError as error:
            raise AudioUnreadableError(f"its decoded audio can't be read: {error.strerror}") from error

    return Recording(round(samples * 1000 / SAMPLE_RATE), blocks)


def floats(data: bytes) -> FloatArray:
    """16-bit little-endian samples at full scale ±1; half a sample at the end is left out."""
    whole = np.frombuffer(data, "<i2", count=len(data) // _BYTES)
    return whole.astype(np.float32) / np.float32(FULL_SCALE)


def wav_header(size: int) -> bytes:
    """What makes a WAV of ``size`` bytes of samples that follow."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(_BYTES)
        sound.setframerate(SAMPLE_RATE)
        sound.setnframes(size // _BYTES)
        sound.writeframes(b"")
    header = bytearray(file.getvalue())
    header[4:8] = (size + len(header) - 8).to_bytes(4, "little")
    header[40:44] = size.to_bytes(4, "little")
    return bytes(header)
