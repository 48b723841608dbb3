"""Whisper's log-mel spectrogram, in numpy.

The figures are Whisper's (whisper/audio.py): 25 ms Hann windows every 10 ms, a Slaney mel scale up to 8 kHz, log10,
the loudest 80 dB of a window kept, brought to about -1..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
FRAMES = 3000
"""Frames of 10 ms in a window of 30 s."""
WINDOW_SAMPLES = FRAMES * HOP
FLOOR = 1e-10
"""The least power whose logarithm is taken."""

_BLOCK = 250  # frames whose spectra stay in a core's cache: 5.8 ms per window instead of 12.9 with all at once


def log_mel(windows: Sequence[Samples], bins: int) -> npt.NDArray[np.float32]:
    """The spectrograms of windows, each padded to 30 s with silence.

    Args:
        windows: samples at 16 kHz, full scale ±1, of shape (samples,), at most 480,000 each; may be empty.
        bins: mel bins the model listens to: 80, or 128 for large-v3.

    Returns:
        float32 of shape (windows, bins, 3000), equal to transformers' WhisperFeatureExtractor but for rounding.

    Raises:
        ValueError: a window is longer than 30 s.
    """
    features = np.empty((len(windows), bins, FRAMES), np.float32)
    for window, row in zip(windows, features, strict=True):
        if len(window) > WINDOW_SAMPLES:
            raise ValueError(f"a window of {len(window)} samples is longer than 30 s")
        _into(row, window, bins)
    return features


def _into(row: npt.NDArray[np.float32], window: Samples, bins: int) -> None:
    """The spectrogram of one window, written into ``row`` of shape (bins, 3000)."""
    frames = _frames(window)
    filters = mel_filters(bins)
    for start in range(0, len(frames), _BLOCK):
        block = frames[start : start + _BLOCK]
        spectrum = np.fft.rfft(block * _HANN)
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        row[:, start : start + len(block)] = (power.astype(np.float32, copy=False) @ filters).T
    heard = row[:, : len(frames)]
    np.maximum(heard, FLOOR, out=heard)
    np.log10(heard, out=heard)
    row[:, len(frames) :] = np.log10(FLOOR)
    np.maximum(row, row.max() - 8, out=row)
    row += 4
    row /= 4


def _frames(window: Samples) -> npt.NDArray[np.float32]:
    """The overlapping frames of a window that hold any of it, shape (frames, 400); the rest of 30 s is silence.

    Frames are centred on multiples of 160 samples. Before the first sample stands its mirror image, and behind
    the last of a full window too, as in torch.stft.
    """
    half = N_FFT // 2
    padded = np.zeros(half + len(window) + half, np.float32)
    padded[half : half + len(window)] = window
    ahead = window[1 : half + 1]
    padded[half - len(ahead) : half] = ahead[::-1]
    beyond = half + len(window) - WINDOW_SAMPLES
    if beyond > 0:
        # Mirrored about the last sample of the 30 s, which lie at [half, half + WINDOW_SAMPLES).
        edge = half + WINDOW_SAMPLES
        padded[edge : edge + beyond] = padded[edge - 1 - beyond : edge - 1][::-1]
    # Frame k begins at k * HOP; the last that holds a sample begins before the end of them.
    count = min(FRAMES, -(-(half + len(window)) // HOP)) if len(window) else 0
    needed = (count - 1) * HOP + N_FFT
    if count and needed > len(padded):
        padded = np.concatenate([padded, np.zeros(needed - len(padded), np.float32)])
    views = np.lib.stride_tricks.sliding_window_view(padded, N_FFT) if count else np.empty((0, N_FFT), np.float32)
    return views[::HOP][:count]


@lru_cache(maxsize=4)
def mel_filters(bins: int) -> npt.NDArray[np.float32]:
    """Triangular filters of equal area on Slaney's mel scale, float32 of shape (201, bins), 0 to 8 kHz.

    The scale (Slaney, Auditory Toolbox, 1998) is linear up to 1 kHz, 15 mel there, and logarithmic above, 27 mel
    for a factor of 6.4.
    """
    edges = _hertz(np.linspace(0.0, _mel(SAMPLE_RATE / 2), bins + 2))
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies[:, None] - lower) / (centre - lower)
    falling = (upper - frequencies[:, None]) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: npt.NDArray[np.float32] = (triangles * (2.0 / (upper - lower))).astype(np.float32)
    return filters


_LINEAR_STEP = 200 / 3
_LOG_START = 1000.0
_LOG_STEP = np.log(6.4) / 27


def _mel(hertz: float) -> float:
    if hertz < _LOG_START:
        return hertz / _LINEAR_STEP
    return float(_LOG_START / _LINEAR_STEP + np.log(hertz / _LOG_START) / _LOG_STEP)


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    knee = _LOG_START / _LINEAR_STEP
    above = _LOG_START * np.exp((mels - knee) * _LOG_STEP)
    return np.where(mels < knee, mels * _LINEAR_STEP, above)


# Periodic, as torch.hann_window makes it.
_HANN = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
