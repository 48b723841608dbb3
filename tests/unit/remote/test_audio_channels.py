"""A recording with a speaker on each channel: one of them can be taken, and the average is what one gets unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from material import MakeFile, tone

from gputx_remote import audio
from gputx_remote.errors import AudioUnreadableError

LEVELS = (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)


def split(channels: int) -> np.ndarray:
    """A second of a constant of its own on each channel."""
    return np.tile(np.array(LEVELS[:channels], np.float32), (16_000, 1))


@pytest.mark.parametrize(("channel", "level"), [("left", 0.5), ("right", 0.25), (1, 0.5), (2, 0.25), (None, 0.375)])
def test_a_side_a_number_or_the_average(sound: MakeFile, channel: Any, level: float) -> None:
    samples = audio.read(sound("a.wav", split(2), 16_000, subtype="FLOAT"), channel=channel)
    assert samples.shape == (16_000,)
    assert np.all(samples == np.float32(level))


def test_any_of_six(sound: MakeFile) -> None:
    path = sound("a.wav", split(6), 16_000, subtype="FLOAT")
    assert [float(audio.read(path, channel=number)[0]) for number in range(1, 7)] == list(LEVELS)


@pytest.mark.parametrize(("channels", "channel"), [(1, "right"), (1, 2), (2, 3), (2, 0), (2, -1)])
def test_a_channel_that_is_not_there(sound: MakeFile, tmp_path: Path, channels: int, channel: Any) -> None:
    path = sound("a.wav", split(channels), 16_000)
    destination = tmp_path / "o.flac"
    with pytest.raises(AudioUnreadableError) as raised:
        audio.prepare(path, destination, channel=channel)
    assert str(raised.value).startswith(f"it has no channel {channel}: it has {channels} channel")
    assert "\n" not in str(raised.value)
    assert not destination.exists()


def test_the_left_of_a_mono_recording_is_all_of_it(sound: MakeFile) -> None:
    assert np.all(audio.read(sound("a.wav", split(1), 16_000), channel="left") == 0.5)


def test_speakers_stay_apart_through_a_codec_and_resampling(movie: MakeFile, tmp_path: Path) -> None:
    both = np.hstack([tone(2, 48_000, hertz=440), tone(2, 48_000, hertz=1_000)])
    path = movie("a.m4a", both)
    for channel, hertz in (("left", 440), ("right", 1_000)):
        prepared = audio.prepare(path, tmp_path / f"{channel}.flac", channel=channel)
        samples, rate = soundfile.read(prepared.path)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        at = {f: spectrum[round(f * len(samples) / rate) + np.arange(-3, 4)].max() for f in (440, 1_000)}
        assert at.pop(hertz) > 100 * max(at.values())


def test_a_broken_sample_of_the_other_channel_does_not_count(sound: MakeFile, tmp_path: Path) -> None:
    samples = split(2)
    samples[7, 1] = np.nan
    path = sound("a.wav", samples, 16_000, subtype="FLOAT")
    assert audio.prepare(path, tmp_path / "l.flac", channel="left").repaired_samples == 0
    assert audio.prepare(path, tmp_path / "r.flac", channel="right").repaired_samples == 1
