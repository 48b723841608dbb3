"""Bad input: one clear line each, or as much of it as there is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from material import Clip, MakeFile, tone

from gputx_remote import audio
from gputx_remote.errors import AudioUnreadableError


def refusal(path: Path, tmp_path: Path) -> str:
    """What ``prepare`` says; ``probe`` has to refuse as well, and nothing may be left."""
    destination = tmp_path / "out" / "o.flac"
    destination.parent.mkdir(exist_ok=True)
    with pytest.raises(AudioUnreadableError) as caught:
        audio.prepare(path, destination)
    with pytest.raises(AudioUnreadableError):
        audio.probe(path)
    assert list(destination.parent.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nix.mp3", tmp_path) == "there is no such file"


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.touch()
    assert refusal(path, tmp_path) == "the file is empty (0 bytes)"


@pytest.mark.parametrize("content", ["Hej! Det här är text.\n" * 500, "1\n00:00:01,000 --> 00:00:02,000\nHej\n"])
def test_text_renamed_mp3(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.mp3"
    path.write_text(content, encoding="utf-8")
    assert refusal(path, tmp_path) == "its content is no audio or video that FFmpeg knows"


def test_noise_renamed_wav(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(np.random.default_rng(7).bytes(40_000))
    assert refusal(path, tmp_path) == "its content is no audio or video that FFmpeg knows"


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.ogg"])
def test_a_header_without_samples(sound: MakeFile, tmp_path: Path, name: str) -> None:
    path = sound(name, np.zeros((0, 1), np.float32), 16_000)
    assert refusal(path, tmp_path) == "it holds no sound (a valid header and 0 samples)"


def test_an_audio_track_without_samples(movie: MakeFile, tmp_path: Path) -> None:
    path = movie("a.mkv", np.zeros((0, 1), np.float32), codec="pcm_s16le", video=True)
    with pytest.raises(AudioUnreadableError, match="holds no sound"):
        audio.prepare(path, tmp_path / "o.flac")


def test_a_video_without_an_audio_track(movie: MakeFile, tmp_path: Path) -> None:
    assert refusal(movie("a.mp4", None, video=True), tmp_path) == "a video without an audio track"


def test_a_directory(tmp_path: Path) -> None:
    folder = tmp_path / "folder.mp3"
    folder.mkdir()
    assert refusal(folder, tmp_path) == "it is a directory"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert refusal(tmp_path / "pipe.wav", tmp_path) == "it is not a regular file"


def test_no_permission(tmp_path: Path, sound: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sound("a.wav", tone(1, 16_000), 16_000)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    # The superuser reads everything, so a mode of 000 would prove nothing in a container.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AudioUnreadableError, match=r"^no permission to read it$"):
        audio.probe(path)


def test_no_space_left_for_the_prepared_file(sound: MakeFile) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(AudioUnreadableError, match=r"^no space left on the disk"):
        audio.prepare(sound("a.wav", tone(20, 16_000), 16_000), full)
    assert full.is_char_device()


def test_a_destination_that_is_not_there(sound: MakeFile, tmp_path: Path) -> None:
    source = sound("a.wav", tone(1, 16_000), 16_000)
    with pytest.raises(AudioUnreadableError, match=r"^the prepared audio can't be written: No such file"):
        audio.prepare(source, tmp_path / "nowhere" / "o.flac")


def test_a_truncated_mp3_is_decoded_as_far_as_it_goes(sound: MakeFile, tmp_path: Path) -> None:
    path = sound("a.mp3", tone(10, 44_100, channels=2), 44_100, format="MP3")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 13])
    prepared = audio.prepare(path, tmp_path / "o.flac")
    assert 4_000 < prepared.duration_ms < 6_000
    assert prepared.missing_ms == pytest.approx(10_000 - prepared.duration_ms, abs=60)


@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_a_damaged_stretch_is_skipped_and_counted(
    clips: dict[str, Clip], sound: MakeFile, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    samples = audio.read(clips["clip04"].path)[:, None]
    path = sound(name, samples, 16_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3_000] = np.random.default_rng(3).bytes(3_000)
    path.write_bytes(content)
    prepared = audio.prepare(path, tmp_path / "o.flac")
    assert prepared.skipped_frames > 0
    assert prepared.duration_ms == pytest.approx(len(samples) / 16, abs=1_500)
    assert capfd.readouterr() == ("", "")
    # The end, beyond the damage, is there; somewhat earlier, for what was skipped.
    end = samples[-16_000:, 0]
    decoded = audio.read(prepared.path)[-48_000:]
    alignment = np.correlate(decoded, end, "valid")
    assert alignment.max() > 0.8 * float(end @ end)


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {target}\n",
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.wav\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{target}</BaseURL></MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    ],
)
def test_a_playlist_opens_nothing(sound: MakeFile, tmp_path: Path, playlist: str) -> None:
    target = sound("secret.wav", tone(1, 16_000), 16_000)
    path = tmp_path / "list.mp3"
    path.write_text(playlist.format(target=target), encoding="utf-8")
    assert refusal(path, tmp_path) == "its content is no audio or video that FFmpeg knows"
