"""Quiet speech is raised; everything else stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from gputx_remote.engine.loudness import QUIET_DB, RAISED_TO_DB, raised
from gputx_remote.speech.plan import Span, Window

RATE = 16_000


def sound(decibels: float, *, pause: bool = False) -> tuple[np.ndarray, Window]:
    """Two seconds of noise at this level, the second one silent with ``pause``."""
    samples = np.random.default_rng(1).normal(0, 10 ** (decibels / 20), 2 * RATE).astype(np.float32)
    if pause:
        samples[RATE:] = 0
    return samples, Window(0, RATE, 3 * RATE, (Span(RATE, 2 * RATE if pause else 3 * RATE),))


def level(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_an_ordinary_level_is_left_alone() -> None:
    samples, window = sound(QUIET_DB + 1)
    assert raised(samples, window) is samples


@pytest.mark.parametrize("pause", [False, True])
def test_a_quiet_voice_is_raised_by_the_level_of_its_speech(pause: bool) -> None:
    samples, window = sound(-69, pause=pause)
    louder = raised(samples, window)
    assert level(louder[:RATE]) == pytest.approx(RAISED_TO_DB, abs=0.1)
    assert louder.dtype == np.float32
    assert np.allclose(louder, samples * (louder[0] / samples[0]))


def test_nothing_is_raised_over_full_scale() -> None:
    samples, window = sound(-60)
    samples[RATE // 2] = 0.25  # a knock on the table
    assert np.max(np.abs(raised(samples, window))) == pytest.approx(1.0)


def test_digital_silence_stays_silent() -> None:
    _, window = sound(-60)
    silence = np.zeros(2 * RATE, np.float32)
    assert raised(silence, window) is silence
    assert len(raised(np.empty(0, np.float32), Window(0, 0, 0, ()))) == 0


def test_where_no_speech_is_marked_all_of_it_counts() -> None:
    samples, _ = sound(-69)
    assert level(raised(samples, Window(0, 0, 2 * RATE, ()))) == pytest.approx(RAISED_TO_DB, abs=0.1)
