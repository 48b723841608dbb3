"""Real speech cut into windows while it is read: the plan, whatever the blocks; nothing said is left out or cut."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from material import HELD_OUT, ROOT

from gputx_remote.speech import silero
from gputx_remote.speech.cut import STRETCH, plan, windows
from gputx_remote.speech.detector import FRAME
from gputx_remote.speech.plan import LONGEST_WINDOW, SpeechOptions

OPTIONS = SpeechOptions()
RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Three minutes, many voices, pauses of 1 to 6 s."""
    samples: np.ndarray = soundfile.read(HELD_OUT / "long3min.flac", dtype="float32")[0]
    return samples


@pytest.fixture(scope="module")
def said() -> list[tuple[float, float]]:
    """When each sentence of it starts and ends, in seconds."""
    value = json.loads((HELD_OUT / "long3min.json").read_text(encoding="utf-8"))
    return [(segment["start"], segment["end"]) for segment in value["segments"]]


def sliced(samples: np.ndarray, edges: list[int]) -> Iterator[np.ndarray]:
    """The samples in the blocks that ``edges`` make, in one buffer that is filled again and again."""
    buffer = np.empty(len(samples), np.float32)
    for start, stop in itertools.pairwise([0, *sorted(edge % (len(samples) + 1) for edge in edges), len(samples)]):
        block = buffer[: stop - start]
        block[:] = samples[start:stop]
        yield block


def outside(said: list[tuple[float, float]], samples: np.ndarray, options: SpeechOptions = OPTIONS) -> int:
    """How many sentences are not inside one window from their first sample to their last."""
    made = plan([samples], options).windows
    return sum(not any(w.start <= a * RATE and b * RATE <= w.stop for w in made) for a, b in said)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=20), st.sampled_from(["silero", "energy", "none"]))
def test_windows_and_samples_do_not_depend_on_the_blocks(edges: list[int], detector: str) -> None:
    samples: np.ndarray = soundfile.read(HELD_OUT / "long3min.flac", stop=45 * RATE + 77, dtype="float32")[0]
    options = SpeechOptions(detector=detector, max_window_seconds=12)
    planned = plan([samples], options)
    given_windows = []
    for window, audio in windows(sliced(samples, edges), options):
        given_windows.append(window)
        assert np.array_equal(audio, samples[window.start : window.stop])
    assert tuple(given_windows) == planned.windows
    assert plan(sliced(samples, edges), options).digest == planned.digest
    assert len(planned.windows) > 2


def test_the_network_hears_the_same_in_pieces_as_in_one_go(speech: np.ndarray) -> None:
    samples = speech[: 64 * FRAME]
    whole = silero.load().probabilities(samples)
    pieces = silero.load()
    apart = [pieces.probabilities(samples[i : i + 8 * FRAME]) for i in range(0, len(samples), 8 * FRAME)]
    assert whole.shape == (64,)
    assert np.allclose(np.concatenate(apart), whole, atol=1e-6)
    assert whole.max() > 0.9 > 0.1 > whole.min()


def test_every_sentence_is_inside_one_window(speech: np.ndarray, said: list[tuple[float, float]]) -> None:
    made = plan([speech], OPTIONS)
    assert outside(said, speech) == 0
    assert len(made.windows) <= 7
    assert made.detector == "silero"
    assert all(w.stop - w.start <= LONGEST_WINDOW for w in made.windows)
    # All the speech that was found is speech, and what was said is found.
    found = np.zeros(len(speech), bool)
    for span in (span for window in made.windows for span in window.speech):
        found[span.start : span.stop] = True
    truly = np.zeros(len(speech), bool)
    for start, stop in said:
        truly[int(start * RATE) : int(stop * RATE)] = True
    assert (found & truly).sum() / truly.sum() > 0.9
    assert (found & truly).sum() / found.sum() > 0.9


@pytest.mark.parametrize(
    ("gain", "snr"),
    [(0.01, None), (0.00316, None), (1.0, 10), (1.0, 5)],
    ids=["at -40 dB", "at -50 dB", "in noise, 10 dB", "in noise, 5 dB"],
)
def test_nothing_said_is_taken_for_silence(
    speech: np.ndarray, said: list[tuple[float, float]], gain: float, snr: float | None
) -> None:
    part, until = speech[: 60 * RATE], [(a, b) for a, b in said if b < 59]
    loud = np.concatenate([part[int(a * RATE) : int(b * RATE)] for a, b in until])
    noise = 0.0 if snr is None else float(np.sqrt(np.mean(loud**2))) * 10 ** (-snr / 20)
    heard = (gain * (part + noise * np.random.default_rng(3).standard_normal(len(part)))).astype(np.float32)
    assert len(until) >= 8
    assert outside(until, heard) == 0


def test_the_energy_detector_loses_nothing_either(speech: np.ndarray, said: list[tuple[float, float]]) -> None:
    options = SpeechOptions(detector="energy")
    assert outside(said, speech, options) == 0
    assert outside(said, (0.01 * speech).astype(np.float32), options) == 0


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "chord"])
@pytest.mark.parametrize("detector", ["silero", "energy"])
def test_no_window_for_what_is_no_speech(kind: str, detector: str) -> None:
    t = np.arange(25 * RATE) / RATE
    sounds = {
        "silence": np.zeros(len(t)),
        "noise": 0.1 * np.random.default_rng(4).standard_normal(len(t)),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * t),
        "chord": sum(0.2 * np.sin(2 * np.pi * hertz * t) for hertz in (220.0, 277.2, 329.6)),
    }
    assert plan([np.asarray(sounds[kind], np.float32)], SpeechOptions(detector=detector)).windows == ()


def test_without_detection_all_of_it_is_in_windows(speech: np.ndarray) -> None:
    made = plan([speech], SpeechOptions(detector="none"))
    assert made.silences() == ()
    assert made.detector == "none"
    assert len(made.windows) <= 10


@pytest.mark.parametrize("length", [0, 1, FRAME - 1, FRAME, STRETCH, STRETCH + 1])
def test_any_length(speech: np.ndarray, length: int) -> None:
    samples = speech[2 * RATE : 2 * RATE + length]
    made = plan([samples], SpeechOptions(detector="none"))
    assert made.samples == length
    assert sum(w.stop - w.start for w in made.windows) + sum(s.stop - s.start for s in made.silences()) == length
    assert [len(audio) for _, audio in windows([samples], OPTIONS)] == [
        w.stop - w.start for w in plan([samples], OPTIONS).windows
    ]


def test_the_first_window_comes_before_the_recording_ends(speech: np.ndarray) -> None:
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for start in range(0, len(speech), RATE):
            read = start + RATE
            yield speech[start : start + RATE]

    window, _ = next(windows(blocks(), OPTIONS))
    assert read - window.stop <= 12 * RATE


def test_a_long_recording_does_not_live_in_memory(speech: np.ndarray) -> None:
    minute = speech[: 60 * RATE]
    tracemalloc.start()
    try:
        count = sum(1 for _ in windows((minute for _ in range(20)), SpeechOptions(detector="energy")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count >= 30
    # Two minutes of samples, of twenty; the numpy temporaries of a minute's block are in it.
    assert peak < 4 * 2 * minute.nbytes


def test_it_says_once_when_the_network_cannot_be_loaded(speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    notes: list[str] = []
    made = plan([speech[: 20 * RATE]], OPTIONS, note=notes.append)
    assert made.detector == "energy"
    assert made.options == OPTIONS
    assert made.windows
    assert len(notes) == 1
    assert "loudness" in notes[0]
    assert "\n" not in notes[0]


def test_a_damaged_network_is_no_reason_to_fail(speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "ASSET", "silero_vad.LICENSE")
    notes: list[str] = []
    assert plan([speech[: 5 * RATE]], OPTIONS, note=notes.append).detector == "energy"
    assert len(notes) == 1


def test_the_network_is_found_inside_a_zip(tmp_path: Path) -> None:
    package = ROOT / "remote" / "gputx_remote"
    with zipfile.ZipFile(tmp_path / "payload.pyz", "w") as archive:
        for file in [package / "__init__.py", *sorted((package / "speech").iterdir())]:
            if file.is_file():
                archive.write(file, file.relative_to(ROOT / "remote"))
    script = "from gputx_remote.speech import cut, silero; print(cut.detector('silero').name, silero.__file__)"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "payload.pyz")}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout.startswith("silero ")
    assert "payload.pyz" in ended.stdout
