"""Packing speech into windows: nothing heard is lost, no window too long, cuts in pauses, the same however it comes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gputx_remote.speech.detector import FRAMES_PER_SECOND
from gputx_remote.speech.limits import Limits
from gputx_remote.speech.packing import Packed, Packer
from gputx_remote.speech.plan import SpeechOptions
from gputx_remote.speech.spans import spans

LIMITS = Limits.of(SpeechOptions())
QUIET, LOUD = -60.0, -20.0

# Stretches of (frames, probability); between the two thresholds what came before goes on.
STRETCH = st.tuples(st.integers(1, 300), st.sampled_from([0.0, 0.0, 0.4, 0.9, 0.9]))
RECORDING = st.lists(STRETCH, min_size=1, max_size=16)


def seconds(amount: float) -> int:
    return round(amount * FRAMES_PER_SECOND)


def frames(*stretches: tuple[int, float]) -> np.ndarray:
    return np.concatenate([np.full(length, value, np.float32) for length, value in stretches])


def packed(probabilities: np.ndarray, limits: Limits = LIMITS, edges: tuple[int, ...] = ()) -> list[Packed]:
    """All windows, with the frames given in the slices that ``edges`` make."""
    levels = np.where(probabilities > 0.3, LOUD, QUIET).astype(np.float32)
    # Levels that differ from frame to frame, so that a quietest one exists.
    levels += np.random.default_rng(5).uniform(0, 1, len(levels)).astype(np.float32)
    packer = Packer(limits)
    cuts = [0, *sorted(edge % (len(probabilities) + 1) for edge in edges), len(probabilities)]
    found = []
    for start, stop in itertools.pairwise(cuts):
        found += packer.push(probabilities[start:stop], levels[start:stop])
    return found + packer.push(np.empty(0, np.float32), np.empty(0, np.float32), last=True)


@settings(max_examples=80, deadline=None)
@given(RECORDING, st.lists(st.integers(0, 10_000), max_size=12))
def test_windows_do_not_depend_on_how_frames_arrive(recording: list[tuple[int, float]], edges: list[int]) -> None:
    probabilities = frames(*recording)
    assert packed(probabilities, edges=tuple(edges)) == packed(probabilities)


@settings(max_examples=80, deadline=None)
@given(RECORDING, st.sampled_from([5.0, 12.0, 30.0]), st.sampled_from([0, 200, 500, 1000]))
def test_speech_is_in_a_window_and_windows_are_in_order(
    recording: list[tuple[int, float]], longest: float, padding: int
) -> None:
    limits = Limits.of(
        SpeechOptions(max_window_seconds=longest, padding_before_ms=padding, padding_after_ms=padding // 2)
    )
    probabilities = frames(*recording)
    windows = packed(probabilities, limits)
    covered = np.zeros(len(probabilities), bool)
    end = 0
    for window in windows:
        assert end <= window.start < window.stop <= len(probabilities)
        assert window.stop - window.start <= limits.max_window
        assert window.speech
        end = window.stop
        covered[window.start : window.stop] = True
    for start, stop in spans(probabilities, limits, speaking=False):
        assert covered[start:stop].all()
    assert sum(b - a for w in windows for a, b in w.speech) >= sum(
        b - a for a, b in spans(probabilities, limits, speaking=False)
    )


def test_silence_around_speech_is_left_out_but_for_the_padding() -> None:
    window, *others = packed(frames((seconds(20), 0.0), (seconds(3), 0.9), (seconds(20), 0.0)))
    assert not others
    assert window.start == seconds(20) - LIMITS.padding_before
    assert window.stop == seconds(23) + LIMITS.padding_after


def test_a_pause_inside_stays_and_a_long_silence_parts() -> None:
    pause, silence = (seconds(8), 0.0), (seconds(11), 0.0)
    speech = (seconds(4), 0.9)
    first, second = packed(frames(speech, pause, speech, silence, speech))
    assert len(first.speech) == 2
    assert len(second.speech) == 1


def test_the_cut_falls_in_the_longest_pause_of_the_last_third() -> None:
    speech = (seconds(5), 0.9)
    short, long = (seconds(0.2), 0.0), (seconds(0.8), 0.0)
    # Pauses at about 5, 10, 15 (long: too early to matter), 21, 26 (long), 32 s.
    probabilities = frames(
        speech, short, speech, short, speech, long, speech, short, speech, long, *[speech, short] * 3
    )
    first, second = packed(probabilities)[:2]
    cut = sum(length for length, _ in [speech, short, speech, short, speech, long, speech, short, speech])
    assert cut < first.stop <= second.start < cut + long[0]


def test_a_pause_early_in_the_window_is_better_than_a_cut_in_a_word() -> None:
    first, second, *_ = packed(frames((seconds(6), 0.9), (seconds(0.4), 0.0), (seconds(60), 0.9)))
    assert seconds(6) <= first.stop <= second.start <= seconds(6.4) + 1


def test_speech_without_a_pause_is_cut_where_it_is_least_speech() -> None:
    probabilities = frames((seconds(24), 0.95), (5, 0.55), (seconds(36), 0.95))
    first, second, third = packed(probabilities)
    assert abs(first.stop - seconds(24) - 2) <= 2
    assert second.start == first.stop
    assert third.stop == len(probabilities)
    # What was cut goes on being speech from the first frame on.
    assert second.speech[0][0] == second.start


def test_a_click_is_no_speech_and_a_short_word_is() -> None:
    assert packed(frames((seconds(5), 0.0), (1, 0.9), (seconds(5), 0.0))) == []
    assert len(packed(frames((seconds(5), 0.0), (6, 0.9), (seconds(5), 0.0)))) == 1


def test_a_window_is_settled_soon_after_a_long_silence_began() -> None:
    packer = Packer(LIMITS)
    speech, silence = np.full(60, 0.9, np.float32), np.zeros(LIMITS.max_silence, np.float32)
    assert packer.push(speech, speech) == []
    assert packer.push(silence, silence) == []
    assert len(packer.push(silence[:1], silence[:1])) == 1


@pytest.mark.parametrize("probability", [0.0, 0.45])
def test_hours_without_speech_are_let_go_of(probability: float) -> None:
    packer = Packer(LIMITS)
    hour = np.full(seconds(3600), probability, np.float32)
    hour[:: seconds(1)] = 0.9 if probability == 0 else probability  # a click every second
    assert packer.push(hour, hour) == []
    assert packer.first >= len(hour) - LIMITS.padding_before - seconds(1)
