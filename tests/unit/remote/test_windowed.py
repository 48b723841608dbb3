"""The engine: windows in batches, in order, through whatever memory there is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from material import HELD_OUT, Clip
from paper_decoder import PaperDecoder, written

from gputx_remote import audio
from gputx_remote.audio.recording import Recording
from gputx_remote.decoders.decoder import Decoded, Request
from gputx_remote.engine.choice import Choice
from gputx_remote.engine.loading import load
from gputx_remote.engine.transcriber import TranscribeOptions, Transcriber
from gputx_remote.engine.windowed import WindowedTranscriber
from gputx_remote.errors import EngineError
from gputx_remote.speech.cut import plan
from gputx_remote.speech.plan import SpeechOptions
from gputx_remote.transcript import Segment
from gputx_remote.vocabulary import Vocabulary
from gputx_remote.weights import resolve

BLIND = TranscribeOptions(speech=SpeechOptions(detector="none"))
"""Windows of about 27 s, wherever the sound is faintest."""


def noise(seconds: float) -> Recording:
    return Recording.of(np.random.default_rng(3).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32))


def starts(recording: Recording) -> list[int]:
    """Where each window's first word is, in ms, if it is said a second after its start."""
    found = plan(recording.blocks(), BLIND.speech or SpeechOptions()).windows
    return [round(window.start / 16) + 1000 for window in found]


def parrot(vocabulary: Vocabulary) -> Callable[[int, Request], Decoded]:
    return lambda window, _: written(vocabulary, 1.0, f" Rum {window}.", 2.0)


def engine_of(decoder: PaperDecoder, notes: list[str], *, batch_size: int | None = None) -> WindowedTranscriber:
    def retreat() -> PaperDecoder:
        return PaperDecoder(decoder.vocabulary, decoder.answer)

    return WindowedTranscriber(decoder, batch_size, retreat, notes.append)


def test_first_text_comes_before_the_rest_is_heard(vocabulary: Vocabulary) -> None:
    decoder = PaperDecoder(vocabulary, parrot(vocabulary))
    seen: list[float] = []
    recording = noise(500)
    expected = starts(recording)
    segments, info = engine_of(decoder, []).transcribe(recording, BLIND, progress=lambda done, _: seen.append(done))
    assert (decoder.heard, seen) == (0, [])
    first = next(segments)
    assert decoder.heard == 1
    rest = list(segments)
    assert [first.start_ms, *(segment.start_ms for segment in rest)] == expected
    assert decoder.encodings == [1, 2, 4, 8, len(expected) - 15]
    assert (seen, len(seen), seen[-1]) == (sorted(seen), len(expected) + 1, 500.0)
    assert (info.windows, info.decoded_again, info.suspect, info.silence_ms) == (len(expected), 0, 0, 0)


def test_a_batch_that_does_not_fit_is_halved_and_said(vocabulary: Vocabulary) -> None:
    notes: list[str] = []
    decoder = PaperDecoder(vocabulary, parrot(vocabulary), fits=3)
    recording = noise(300)
    segments, _ = engine_of(decoder, notes).transcribe(recording, BLIND)
    assert [segment.start_ms for segment in segments] == starts(recording)
    assert decoder.encodings[:4] == [1, 2, 2, 2]
    assert max(decoder.encodings) == 2
    assert notes == ["memory too small for 4 windows at once: going on with 2"]


def test_a_gpu_too_small_for_one_window_gives_way_to_the_cpu(vocabulary: Vocabulary) -> None:
    notes: list[str] = []
    engine = engine_of(PaperDecoder(vocabulary, parrot(vocabulary), fits=0, device="cuda"), notes)
    recording = noise(90)
    segments, _ = engine.transcribe(recording, BLIND)
    assert [segment.start_ms for segment in segments] == starts(recording)
    assert engine.device == "cpu"
    assert notes == ["GPU memory too small for one window: going on with the CPU"]


def test_a_cpu_too_small_for_one_window_fails_the_file(vocabulary: Vocabulary) -> None:
    segments, _ = engine_of(PaperDecoder(vocabulary, parrot(vocabulary), fits=0), []).transcribe(noise(9), BLIND)
    with pytest.raises(EngineError, match=r"^not enough memory for one window of 30 s$"):
        list(segments)


def test_previous_text_is_context_until_it_was_drawn_hot(vocabulary: Vocabulary) -> None:
    def answer(window: int, request: Request) -> Decoded:
        bad = window == 2 and request.temperature < 0.6
        return written(vocabulary, 1.0, f" Rum {window}.", 2.0, logprob=-2.0 if bad else -0.1)

    decoder = PaperDecoder(vocabulary, answer)
    options = TranscribeOptions(
        speech=BLIND.speech, condition_on_previous_text=True, initial_prompt="Intervju.", hotwords="Umeå"
    )
    segments, info = engine_of(decoder, []).transcribe(noise(130), options)
    assert len(list(segments)) == 5
    firsts = [batch[0].prompt for batch in decoder.requests if batch[0].temperature == 0]
    opening = vocabulary.prompt("sv", "transcribe")
    before = [vocabulary.text(prompt[: -len(opening)]) for prompt in firsts]
    assert before == [
        " Umeå Intervju.",
        " Umeå Intervju. Rum 0.",
        " Umeå Intervju. Rum 0. Rum 1.",
        " Umeå Intervju.",
        " Umeå Intervju. Rum 3.",
    ]
    assert (set(decoder.encodings), info.decoded_again) == ({1}, 1)


def test_the_language_is_asked_of_the_first_windows(vocabulary: Vocabulary) -> None:
    decoder = PaperDecoder(vocabulary, parrot(vocabulary))
    segments, info = engine_of(decoder, []).transcribe(noise(20), TranscribeOptions(language=None, speech=BLIND.speech))
    # The paper decoder takes its first window for Danish, which the vocabulary knows.
    assert [segment.text for segment in segments] == ["Rum 0."]
    assert info.language == "da"
    segments, info = engine_of(PaperDecoder(vocabulary, parrot(vocabulary)), []).transcribe(
        noise(100), TranscribeOptions(language=None, speech=BLIND.speech)
    )
    assert (len(list(segments)), info.language) == (4, "sv")


def test_the_length_is_what_was_read_whatever_the_header_said(vocabulary: Vocabulary) -> None:
    sound = noise(20)
    lying = Recording(3_600_000, sound.blocks)
    segments, info = engine_of(PaperDecoder(vocabulary, parrot(vocabulary)), []).transcribe(lying, BLIND)
    assert [segment.end_ms for segment in segments] == [2000]
    assert info.duration_ms == 20_000


def test_a_failure_of_the_source_comes_through(vocabulary: Vocabulary) -> None:
    def broken() -> object:
        yield np.zeros(16_000, np.float32)
        raise OSError("the disk went away")

    segments, _ = engine_of(PaperDecoder(vocabulary, parrot(vocabulary)), []).transcribe(
        Recording(1000, broken),  # type: ignore[arg-type]
        BLIND,
    )
    with pytest.raises(OSError, match="went away"):
        list(segments)


@pytest.fixture(scope="module", params=["ctranslate2", "transformers"])
def real(request: pytest.FixtureRequest, model_path: object) -> Transcriber:
    location = resolve(str(model_path), None, print)
    return load(location, Choice("vad", request.param, "float32"), device="cpu", note=print)


def heard(engine: Transcriber, recording: Recording, **options: object) -> list[Segment]:
    return list(engine.transcribe(recording, TranscribeOptions(**options))[0])  # type: ignore[arg-type]


def test_real_speech_is_understood(real: Transcriber, clips: dict[str, Clip]) -> None:
    for name in ("clip03", "clip04", "clip07"):
        segments = heard(real, Recording.open(clips[name].path))
        assert clips[name].wer(" ".join(segment.text for segment in segments)) == 0, name
        assert all(not segment.suspect and (segment.confidence or 0) > 0.9 for segment in segments)


def test_words_are_timed(real: Transcriber, clips: dict[str, Clip]) -> None:
    segments = heard(real, Recording.open(clips["clip04"].path), word_timestamps=True)
    for segment in segments:
        assert [word.text for word in segment.words] == segment.text.split()
        assert sum(word.end_ms > word.start_ms for word in segment.words) >= len(segment.words) - 1


@pytest.mark.slow
def test_the_batch_changes_no_word(real: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording.of(audio.read(HELD_OUT / "long3min.flac"))
    alone = heard(real, recording, condition_on_previous_text=False)
    monkeypatch.setattr(real._room, "size", 1)  # type: ignore[attr-defined]
    assert [(s.text, s.tokens) for s in heard(real, recording)] == [(s.text, s.tokens) for s in alone]


@pytest.mark.parametrize("seconds", [0.0, 0.01, 5.0, 45.0])
def test_silence_is_no_text(real: Transcriber, seconds: float) -> None:
    silence = Recording.of(np.zeros(round(seconds * 16_000), np.float32))
    segments, info = real.transcribe(silence, TranscribeOptions())
    assert (list(segments), info.windows, info.silence_ms) == ([], 0, round(seconds * 1000))
    segments, info = real.transcribe(silence, TranscribeOptions(language=None))
    assert (list(segments), len(info.language)) == ([], 2)
