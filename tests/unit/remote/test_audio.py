"""Any container and codec becomes 16 kHz mono, of the right length and the right pitch, in bounded memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from material import Clip, MakeFile, tone

from gputx_remote import audio

# A codec may pad its ends by a frame or two; MP3 and AAC frames last 24 and 21 ms at 48 kHz.
CODEC_PADDING_S = 0.1


def loudest_hertz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * audio.SAMPLE_RATE / len(samples))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_every_sample_rate_keeps_length_pitch_and_level(sound: MakeFile, rate: int) -> None:
    samples = audio.read(sound("a.wav", tone(3, rate), rate))
    assert abs(len(samples) - 3 * audio.SAMPLE_RATE) <= 1
    assert loudest_hertz(samples) == pytest.approx(440, abs=0.5)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / audio.SAMPLE_RATE)
    # Away from the ends, where the filter has no past or future: 16-bit noise and nothing else.
    assert np.abs(samples - expected)[800:-800].max() < 2e-4


def test_what_16_khz_cannot_hold_is_filtered_out(sound: MakeFile) -> None:
    samples = audio.read(sound("a.wav", tone(2, 48_000, hertz=9_500), 48_000))
    assert np.abs(samples[800:-800]).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.wav", {"subtype": "PCM_U8"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "DOUBLE"}),
        ("a.flac", {}),
        ("a.ogg", {"subtype": "VORBIS"}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", {"format": "MP3"}),
        ("a.aiff", {}),
        ("a.caf", {}),
        ("a.w64", {}),
        ("a.au", {}),
    ],
)
def test_formats_of_libsndfile(sound: MakeFile, name: str, how: dict[str, str]) -> None:
    samples = audio.read(sound(name, tone(2, 48_000, channels=2), 48_000, **how))
    assert len(samples) / audio.SAMPLE_RATE == pytest.approx(2, abs=CODEC_PADDING_S)
    assert loudest_hertz(samples) == pytest.approx(440, abs=1)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("name", "codec", "video"),
    [
        ("a.m4a", "aac", False),
        ("a.mp4", "aac", True),
        ("a.mov", "pcm_s16le", True),
        ("a.mkv", "libopus", True),
        ("a.mkv", "ac3", True),
        ("a.webm", "libopus", False),
        ("a.avi", "libmp3lame", True),
    ],
)
def test_a_container_gives_up_its_audio_track(movie: MakeFile, name: str, codec: str, video: bool) -> None:
    path = movie(name, tone(2, 48_000, channels=2), codec=codec, video=video)
    samples = audio.read(path)
    assert len(samples) / audio.SAMPLE_RATE == pytest.approx(2, abs=CODEC_PADDING_S)
    assert loudest_hertz(samples) == pytest.approx(440, abs=1)
    assert audio.probe(path).duration_ms == pytest.approx(2_000, abs=1000 * CODEC_PADDING_S)


def test_the_name_of_a_file_means_nothing(sound: MakeFile, tmp_path: Path) -> None:
    path = sound("a.wav", tone(1, 16_000), 16_000).rename(tmp_path / "konstigt 'namn'\n\"åäö\".mp3")
    assert len(audio.read(path)) == audio.SAMPLE_RATE


def test_a_name_that_reads_like_a_url_is_a_file(
    sound: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound("a.mp3", tone(1, 16_000), 16_000, format="MP3").rename(tmp_path / "concat:a|b")
    monkeypatch.chdir(tmp_path)
    assert audio.probe(Path("concat:a|b")).codec == "mp3"


@pytest.mark.parametrize(("name", "codec"), [("a.wav", ""), ("a.mkv", "flac"), ("a.m4a", "aac")])
def test_eight_channels_are_averaged(sound: MakeFile, movie: MakeFile, name: str, codec: str) -> None:
    samples = tone(2, 48_000, channels=8) * np.array([1, 0, 0, 0, 0, 0, 0, 0.6], dtype=np.float32)
    path = movie(name, samples, codec=codec) if codec else sound(name, samples, 48_000)
    assert audio.probe(path).channels == 8
    middle = audio.read(path)[8_000:-8_000]
    assert np.abs(middle).max() == pytest.approx(0.5 * 1.6 / 8, abs=3e-3)


def test_loud_channels_do_not_clip(sound: MakeFile) -> None:
    samples = audio.read(sound("a.wav", 2 * tone(1, 16_000, channels=2), 16_000))
    assert np.abs(samples).max() == pytest.approx(1.0, abs=1e-3)


def test_float_samples_beyond_full_scale_are_limited_and_not_wrapped(sound: MakeFile, tmp_path: Path) -> None:
    prepared = audio.prepare(sound("a.wav", 6 * tone(1, 16_000), 16_000, subtype="FLOAT"), tmp_path / "o.flac")
    samples = audio.read(prepared.path)
    # Wrapped samples would jump from one end of the scale to the other.
    assert np.abs(np.diff(samples)).max() < 0.6
    assert samples.max() == pytest.approx(1.0, abs=1e-4)


def test_broken_samples_become_silence_and_are_counted(sound: MakeFile, tmp_path: Path) -> None:
    samples = tone(1, 16_000)
    samples[100:110], samples[200] = np.nan, np.inf
    prepared = audio.prepare(sound("a.wav", samples, 16_000, subtype="FLOAT"), tmp_path / "o.flac")
    assert prepared.repaired_samples == 11
    assert not audio.read(prepared.path)[100:110].any()


def test_preparing_16_khz_mono_loses_nothing(clips: dict[str, Clip], tmp_path: Path) -> None:
    source = clips["clip00"].path
    prepared = audio.prepare(source, tmp_path / "o.flac")
    before, rate = soundfile.read(source, dtype="int16")
    after, _ = soundfile.read(prepared.path, dtype="int16")
    assert rate == audio.SAMPLE_RATE
    np.testing.assert_array_equal(before, after)


def test_prepared_says_what_was_written(sound: MakeFile, tmp_path: Path) -> None:
    source = sound("a.wav", tone(5, 44_100, channels=2), 44_100)
    seen: list[tuple[float, float | None]] = []
    prepared = audio.prepare(source, tmp_path / "o.flac", progress=lambda *at: seen.append(at))
    assert prepared.duration_ms == 5_000
    assert prepared.source_bytes == source.stat().st_size
    assert prepared.bytes == prepared.path.stat().st_size
    assert prepared.sha256 == hashlib.sha256(prepared.path.read_bytes()).hexdigest()
    assert (prepared.skipped_frames, prepared.repaired_samples, prepared.missing_ms) == (0, 0, 0)
    assert [total for _, total in seen] == [5.0] * len(seen)
    assert len(seen) > 2
    assert sorted(seen) == seen
    assert seen[-1][0] == pytest.approx(5.0, abs=0.001)


def test_preparing_can_be_cancelled_and_leaves_nothing(sound: MakeFile, tmp_path: Path) -> None:
    class CancelledError(Exception):
        pass

    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise CancelledError

    destination = tmp_path / "o.flac"
    with pytest.raises(CancelledError):
        audio.prepare(sound("a.wav", tone(60, 8_000), 8_000), destination, check=check)
    assert len(calls) == 3
    assert not destination.exists()


def test_three_hours_pass_through_without_living_in_memory(sound: MakeFile, tmp_path: Path) -> None:
    hour = np.tile(tone(10, 8_000), (360, 1))
    source = tmp_path / "long.wav"
    with soundfile.SoundFile(source, "w", 8_000, 1, subtype="PCM_U8") as file:
        for _ in range(3):
            file.write(hour)
    del hour
    tracemalloc.start()
    total = sum(len(block) for block in audio.blocks(source))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 3 * 3600 * audio.SAMPLE_RATE
    # The whole would be 691 MB.
    assert peak < 5_000_000
