"""The log-mel spectrogram, held against transformers' feature extractor."""

from __future__ import annotations

import time

import numpy as np
import pytest
import soundfile
from material import Clip

from gputx_remote.spectrogram import WINDOW_SAMPLES, log_mel, mel_filters


@pytest.fixture(scope="module")
def speech(clips: dict[str, Clip]) -> np.ndarray:
    samples, rate = soundfile.read(clips["clip03"].path, dtype="float32")
    assert rate == 16_000
    return np.tile(samples, 4)[:WINDOW_SAMPLES]


@pytest.mark.parametrize("bins", [80, 128])
def test_it_equals_transformers(speech: np.ndarray, bins: int) -> None:
    from transformers import WhisperFeatureExtractor  # noqa: PLC0415 - seconds of imports for this test alone

    noise = np.random.default_rng(1).normal(0, 0.1, WINDOW_SAMPLES).astype(np.float32)
    # Lengths at the borders: of one frame, of the mirror image before the first sample and behind the last.
    lengths = (1, 12_345, WINDOW_SAMPLES - 350, WINDOW_SAMPLES) if bins == 80 else (201, WINDOW_SAMPLES - 160)
    windows = [speech, *(noise[:length] for length in lengths)]
    ours = log_mel(windows, bins)
    extractor = WhisperFeatureExtractor(feature_size=bins)
    theirs = extractor(windows, sampling_rate=16_000, return_tensors="np")["input_features"]
    assert ours.shape == theirs.shape == (len(windows), bins, 3000)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def test_a_window_does_not_depend_on_its_neighbours(speech: np.ndarray) -> None:
    windows = [speech[:50_000], speech * 0.1, speech[:0]]
    together = log_mel(windows, 80)
    for window, row in zip(windows, together, strict=True):
        np.testing.assert_array_equal(log_mel([window], 80)[0], row)


def test_silence_is_flat() -> None:
    # log10 of 1e-10, clipped at nothing: (-10 + 4) / 4.
    np.testing.assert_allclose(log_mel([np.zeros(0, np.float32), np.zeros(99_999, np.float32)], 80), -1.5, rtol=1e-6)
    assert log_mel([], 80).shape == (0, 80, 3000)


def test_more_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 30 s"):
        log_mel([np.zeros(WINDOW_SAMPLES + 1, np.float32)], 80)


def test_filters_are_slaneys() -> None:
    filters = mel_filters(80)
    assert filters.shape == (201, 80)
    # Of equal area: 40 Hz between frequencies; the narrow ones at the bottom fall between them.
    np.testing.assert_allclose(filters[:, 40:].sum(axis=0) * 40, 1.0, atol=0.08)


def test_padding_is_not_transformed(speech: np.ndarray) -> None:
    def cost(window: np.ndarray) -> float:
        began = time.process_time()
        for _ in range(5):
            log_mel([window], 80)
        return time.process_time() - began

    cost(speech)
    long, short = (sorted(cost(window) for _ in range(3))[1] for window in (speech, speech[:16_000]))
    assert short < 0.6 * long
