"""A window in two: where it is parted, and that no speech is lost or heard twice."""

from __future__ import annotations

import random

import numpy as np

from gputx_remote.engine.halves import halves
from gputx_remote.speech.plan import Span, SpeechOptions, Window

RATE = 16_000
OPTIONS = SpeechOptions(padding_before_ms=250, padding_after_ms=300)


def window(length: float, *spans: tuple[float, float], start: int = 7 * RATE) -> tuple[Window, np.ndarray]:
    """A window of so many seconds with speech at these; its samples tell their own place."""
    speech = tuple(Span(start + round(a * RATE), start + round(b * RATE)) for a, b in spans)
    samples = round(length * RATE)
    return Window(3, start, start + samples, speech), np.arange(start, start + samples, dtype=np.float32)


def test_it_is_parted_at_the_long_pause_near_its_middle() -> None:
    whole, samples = window(20, (0.2, 2), (5, 9), (9.3, 11), (12, 19.8))
    (first, _), (second, _) = halves(whole, samples, OPTIONS)
    assert [span.stop for span in first.speech][-1] == whole.start + 11 * RATE
    assert second.speech[0].start == whole.start + 12 * RATE
    assert (first.start, second.stop) == (whole.start, whole.stop)
    assert (first.stop, second.start) == (whole.start + 11.3 * RATE, whole.start + 11.75 * RATE)


def test_speech_is_kept_whole_whatever_the_pauses() -> None:
    draw = random.Random(4)
    for _ in range(300):
        edges = sorted(draw.sample(range(0, 30 * RATE, 160), 2 * draw.randint(2, 20)))
        spans = [(a / RATE, b / RATE) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        whole, samples = window(30, *spans)
        (first, before), (second, after) = halves(whole, samples, OPTIONS)
        assert first.speech + second.speech == whole.speech
        assert first.speech[-1].stop <= first.stop <= second.speech[0].start
        assert first.speech[-1].stop <= second.start <= second.speech[0].start
        for part, sound in ((first, before), (second, after)):
            assert (part.index, len(sound), sound[0]) == (3, part.stop - part.start, part.start)


def test_without_a_pause_it_is_parted_where_it_is_faintest() -> None:
    whole, samples = window(20, (0, 20))
    samples = np.ones_like(samples)
    samples[round(8.0 * RATE) : round(8.1 * RATE)] = 0.1
    samples[round(1.0 * RATE) : round(1.1 * RATE)] = 0.0  # too near the edge to be of use
    (first, _), (second, _) = halves(whole, samples, OPTIONS)
    assert first.stop == second.start == first.speech[-1].stop == second.speech[0].start
    assert 8.0 * RATE <= first.stop - whole.start <= 8.1 * RATE


def test_a_scrap_stays_whole() -> None:
    assert halves(*window(1.9, (0.1, 0.5), (0.9, 1.8)), OPTIONS) == []
