"""The reference (the stock pipeline) on real words: what it hears, when, and how it tells of its work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from material import HELD_OUT, Clip, normalised

from gputx_remote import audio
from gputx_remote.audio.recording import Recording
from gputx_remote.engine.reference import BATCH_SIZE, BEAMS, ReferenceTranscriber
from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.errors import EngineError
from gputx_remote.transcript import Transcript

SWEDISH = TranscribeOptions(language="sv")


def transcribe(engine: ReferenceTranscriber, samples: np.ndarray) -> Transcript:
    segments, info = engine.transcribe(Recording.of(samples), SWEDISH)
    found = tuple(segments)
    return Transcript(found, info.language, info.duration_ms)


@pytest.mark.slow
def test_held_out_speech_is_understood(engine: ReferenceTranscriber, clips: dict[str, Clip]) -> None:
    """Those that fit a window, and one that does not; docs/accuracy.md has all."""
    clips = {name: clips[name] for name in sorted(clips)[:9]}
    heard = {name: transcribe(engine, audio.read(clip.path)) for name, clip in clips.items()}
    references = [normalised(clip.text) for clip in clips.values()]
    assert jiwer.wer(references, [normalised(heard[name].text) for name in clips]) < 0.05
    for name in ("clip01", "clip02", "clip03", "clip04", "clip05", "clip07", "clip08"):
        assert clips[name].wer(heard[name].text) == 0, name


def test_segments_are_where_the_words_are(engine: ReferenceTranscriber, clips: dict[str, Clip]) -> None:
    samples = audio.read(clips["clip04"].path)
    segments = transcribe(engine, samples).segments
    assert len(segments) == 4
    floor = 0
    for segment in segments:
        assert floor <= segment.start_ms < segment.end_ms <= len(samples) / 16
        floor = segment.end_ms
        inside = samples[segment.start_ms * 16 : segment.end_ms * 16]
        assert np.sqrt(np.mean(inside**2)) > 3 * np.sqrt(np.mean(samples[: segments[0].start_ms * 16] ** 2))


@pytest.mark.slow
def test_it_says_what_the_stock_pipeline_says(engine: ReferenceTranscriber) -> None:
    samples = audio.read(HELD_OUT / "long3min.flac")[: 60 * audio.SAMPLE_RATE]
    stock = engine._pipeline(
        samples,
        chunk_length_s=30,
        batch_size=BATCH_SIZE["cpu"],
        return_timestamps=True,
        ignore_warning=True,
        generate_kwargs={"language": "sv", "task": "transcribe", "num_beams": BEAMS},
    )
    segments, info = engine.transcribe(Recording.of(samples), SWEDISH)
    assert [segment.text for segment in segments] == [piece["text"].strip() for piece in stock["chunks"]]
    assert info.windows == 3


@pytest.mark.slow
def test_text_comes_while_the_rest_is_still_unheard(engine: ReferenceTranscriber) -> None:
    samples = audio.read(HELD_OUT / "long3min.flac")[: 110 * audio.SAMPLE_RATE]
    story: list[tuple[str, float]] = []
    segments, info = engine.transcribe(
        Recording.of(samples), SWEDISH, progress=lambda done, total: story.append(("progress", done / total))
    )
    streamed = []
    for segment in segments:
        streamed.append(segment)
        story.append(("segment", segment.end_ms / info.duration_ms))
    kinds = [kind for kind, _ in story]
    assert "progress" in kinds[kinds.index("segment") :], "all text came at the end"
    shares = [share for kind, share in story if kind == "progress"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert [s.start_ms for s in streamed] == sorted(s.start_ms for s in streamed)


def test_nothing_is_done_before_a_segment_is_drawn(engine: ReferenceTranscriber, clips: dict[str, Clip]) -> None:
    seen: list[float] = []
    segments, info = engine.transcribe(
        Recording.open(clips["clip01"].path), SWEDISH, progress=lambda done, _: seen.append(done)
    )
    assert (seen, info.windows) == ([], 0)
    assert len(list(segments)) == 4
    assert (len(seen), info.windows) == (1, 1)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 5.0, 45.0])
def test_silence_is_an_empty_transcript(engine: ReferenceTranscriber, seconds: float) -> None:
    silence = np.zeros(round(seconds * audio.SAMPLE_RATE), np.float32)
    assert transcribe(engine, silence) == Transcript((), "sv", round(seconds * 1000))


def test_faint_noise_is_no_speech(engine: ReferenceTranscriber) -> None:
    noise = np.random.default_rng(5).normal(0, 1e-3, 8 * audio.SAMPLE_RATE).astype(np.float32)
    assert transcribe(engine, noise).text == ""


def test_an_unknown_language_is_an_error_of_this_file_only(
    engine: ReferenceTranscriber, clips: dict[str, Clip]
) -> None:
    segments, _ = engine.transcribe(Recording.open(clips["clip01"].path), TranscribeOptions(language="xx"))
    with pytest.raises(EngineError, match="xx"):
        list(segments)


def test_without_a_language_the_model_is_asked(engine: ReferenceTranscriber, clips: dict[str, Clip]) -> None:
    clip = clips["clip04"]
    segments, info = engine.transcribe(Recording.open(clip.path), TranscribeOptions(language=None))
    # The tiny model knows one language, so this shows that it is asked, not that it can tell them apart.
    assert clip.wer(" ".join(segment.text for segment in segments)) == 0
    assert info.language == "sv"


def starved(real: Callable[..., Any], fits: int, tried: list[int]) -> Callable[..., Any]:
    """A forward pass on a device where only ``fits`` windows fit at once."""

    def forward(inputs: dict[str, Any], **parameters: Any) -> Any:
        tried.append(len(inputs["input_features"]))
        if tried[-1] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(inputs, **parameters)

    return forward


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved(
    engine: ReferenceTranscriber, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = audio.read(HELD_OUT / "long3min.flac")[: 80 * audio.SAMPLE_RATE]
    expected = transcribe(engine, samples)
    tried: list[int] = []
    monkeypatch.setattr(engine._pipeline, "forward", starved(engine._pipeline.forward, 1, tried))
    monkeypatch.setattr(engine, "_batch_size", 4)
    before = len(notes)
    assert transcribe(engine, samples) == expected
    assert tried == [4, 2, 1, 1, 1, 1]
    assert notes[before:] == [
        "memory too small for 4 windows at once: going on with 2",
        "memory too small for 2 windows at once: going on with 1",
    ]


def test_no_memory_at_all_fails_the_file(
    engine: ReferenceTranscriber, clips: dict[str, Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._pipeline, "forward", starved(engine._pipeline.forward, 0, []))
    segments, _ = engine.transcribe(Recording.open(clips["clip01"].path), SWEDISH)
    with pytest.raises(EngineError, match=r"^not enough memory for one window of 30 s$"):
        list(segments)


def test_the_cpu_is_used_in_fp32(engine: ReferenceTranscriber) -> None:
    assert (engine.device, engine.compute_type) == ("cpu", "float32")
    assert engine._pipeline.model.config._attn_implementation == "sdpa"
    assert not engine._pipeline.model.training
