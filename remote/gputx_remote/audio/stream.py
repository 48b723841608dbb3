"""From decoded samples to what Whisper hears: one channel at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import soxr

from gputx_remote.audio.opening import open_source
from gputx_remote.audio.source import Damage, FloatArray, Source
from gputx_remote.errors import AudioUnreadableError

SAMPLE_RATE = 16_000

Channel = Literal["left", "right"] | int
"""One channel of a recording that has a speaker on each: by its side, or by its number from 1."""


def blocks(path: Path, damage: Damage | None = None, *, channel: Channel | None = None) -> Iterator[FloatArray]:
    """Yield a file's audio, some seconds at a time, as float32 (samples,), 16 kHz mono, full scale ±1.

    Channels are averaged, so the result never clips where they did not; or one of them is taken. NaN and infinite
    samples become zero and are counted in ``damage``, as are frames that could not be decoded.

    Raises:
        AudioUnreadableError: the file is no audio, holds not one sample, or has no such channel.
    """
    with open_source(path) as source:
        yield from resampled(source, damage if damage is not None else Damage(), channel=channel)


def resampled(source: Source, damage: Damage, *, channel: Channel | None = None) -> Iterator[FloatArray]:
    """The blocks of an open source; see :func:`blocks`."""
    heard = False
    resampler: soxr.ResampleStream | None = None
    current = 0
    for rate, block in source.blocks(damage):
        mono = _mono(block, damage, channel)
        if rate != current:
            if resampler is not None:
                yield resampler.resample_chunk(np.empty(0, np.float32), last=True)
            # The samples of a 16 kHz file go through untouched, so preparing is lossless for it.
            resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")
            current = rate
        heard = heard or len(mono) > 0
        yield mono if resampler is None else resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.empty(0, np.float32), last=True)
    if not heard:
        raise AudioUnreadableError("it holds no sound (a valid header and 0 samples)")


def read(path: Path, *, channel: Channel | None = None) -> FloatArray:
    """A whole file as float32 of shape (samples,), 16 kHz mono, full scale ±1; see :func:`blocks`.

    Raises:
        AudioUnreadableError: the file is no audio, holds not one sample, or has no such channel.
    """
    return np.concatenate(list(blocks(path, channel=channel)))


def _mono(block: FloatArray, damage: Damage, channel: Channel | None) -> FloatArray:
    if channel is not None:
        mono = block[:, _column(channel, block.shape[1])].copy()
    elif block.shape[1] == 1:
        mono = block[:, 0].copy()
    else:
        mono = block.mean(axis=1, dtype=np.float32)
    broken = ~np.isfinite(mono)
    if broken.any():
        damage.repaired_samples += int(broken.sum())
        mono[broken] = 0.0
    return mono


def _column(channel: Channel, channels: int) -> int:
    number = {"left": 1, "right": 2}.get(channel) if isinstance(channel, str) else channel
    if number is None or not 1 <= number <= channels:
        has = "1 channel" if channels == 1 else f"{channels} channels"
        raise AudioUnreadableError(f"it has no channel {channel}: it has {has}, counted from 1")
    return number - 1
