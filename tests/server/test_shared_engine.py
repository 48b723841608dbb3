"""The real model, shared: every job gets the text it would have got alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from surface import MODEL, ROOT

from gputx_remote import weights
from gputx_remote.audio.recording import Recording
from gputx_remote.audio.stream import read
from gputx_remote.decoders import ctranslate2_decoder
from gputx_remote.decoders.decoder import Decoder, Request
from gputx_remote.engine import loading
from gputx_remote.engine.choice import Choice
from gputx_remote.engine.transcriber import TranscribeOptions, TranscriptionInfo
from gputx_remote.engine.windowed import WindowedTranscriber
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.shared import CancelledError
from gputx_remote.server.side_by_side import SideBySide
from gputx_remote.transcript import Segment
from gputx_remote.worker import ModelOptions

HELD_OUT = ROOT / "examples" / "held-out"
CLIPS = [HELD_OUT / f"clip{number:02}.flac" for number in (0, 2, 4, 11)]


@pytest.fixture(scope="module")
def exact() -> Iterator[SharedEngine]:
    """In float32, where a window's tokens do not depend on its batch at all."""
    options = ModelOptions(str(MODEL), device="cpu", choice=Choice("vad", "ctranslate2", "float32"))
    engine = SharedEngine.load(options, lambda _: None)
    yield engine
    engine.close()


def test_every_job_gets_the_text_it_would_have_got_alone(exact: SharedEngine) -> None:
    wishes = [
        TranscribeOptions(word_timestamps=bool(number % 2), language="sv" if number % 3 else None)
        for number in range(len(CLIPS))
    ]

    def one(path: Path, options: TranscribeOptions) -> tuple[list[Segment], TranscriptionInfo]:
        segments, info = exact.transcribe(Recording.open(path), options)
        return list(segments), info

    alone = [one(path, options) for path, options in zip(CLIPS, wishes, strict=True)]
    turns = exact.statistics.turns
    with ThreadPoolExecutor(len(CLIPS)) as pool:
        together = list(pool.map(one, CLIPS, wishes))
    for (segments, info), (expected, before) in zip(together, alone, strict=True):
        assert [_said(segment) for segment in segments] == [_said(segment) for segment in expected]
        words, same = ([word for one in heard for word in one.words] for heard in (segments, expected))
        assert [word.text for word in words] == [word.text for word in same]
        assert all(abs(a.start_ms - b.start_ms) <= 50 for a, b in zip(words, same, strict=True))
        assert info == before
    assert exact.statistics.turns - turns < turns  # they did share


def _said(segment: Segment) -> tuple[object, ...]:
    return segment.start_ms, segment.end_ms, segment.text, segment.tokens


def test_a_recording_is_taken_up_where_it_was_left(exact: SharedEngine) -> None:
    samples = np.concatenate([read(path) for path in CLIPS])
    whole, info = exact.transcribe(Recording.of(samples), TranscribeOptions())
    expected = list(whole)
    done: list[tuple[float, int]] = []
    half: list[Segment] = []
    segments, _ = exact.transcribe(
        Recording.of(samples), TranscribeOptions(), progress=lambda seconds, _: done.append((seconds, len(half)))
    )
    for segment in segments:
        half.append(segment)
        if len(done) == 2:
            break
    segments.close()  # type: ignore[attr-defined] # a generator
    seconds, count = done[-1]
    rest, again = exact.transcribe(Recording.of(samples), TranscribeOptions(), after=seconds)
    assert [*map(_said, half[:count]), *map(_said, rest)] == [*map(_said, expected)]
    assert (again.duration_ms, again.silence_ms) == (info.duration_ms, info.silence_ms)
    assert again.windows == info.windows - 2


def test_a_cancelled_job_stops_and_its_seat_is_free(exact: SharedEngine) -> None:
    stop = threading.Event()
    segments, _ = exact.transcribe(
        Recording.open(HELD_OUT / "long3min.flac"), TranscribeOptions(), cancelled=stop.is_set
    )
    next(segments)
    stop.set()
    exact.wake()
    with pytest.raises(CancelledError):
        list(segments)
    assert exact.decoder is not None
    assert exact.decoder.share == exact.decoder.turn


@pytest.mark.parametrize("name", ["ctranslate2", "torch", "transformers"])
def test_what_was_encoded_apart_is_decoded_together_all_the_same(name: str) -> None:
    location = weights.resolve(str(MODEL), None, lambda _: None)
    transcriber = loading.load(location, Choice("vad", name, "float32"), device="cpu", note=lambda _: None)
    assert isinstance(transcriber, WindowedTranscriber)
    decoder: Decoder = transcriber.room.decoder
    windows = [read(path)[: 10 * 16_000] for path in CLIPS[:3]]
    request = Request(decoder.vocabulary.prompt("sv", "transcribe"))
    alone = [decoder.decode(decoder.encode([window]), [request])[0].tokens for window in windows]
    pair, single = decoder.encode([windows[2], windows[0]]), decoder.encode([windows[1]])
    joined = decoder.join([decoder.select(pair, [1]), single, decoder.select(pair, [0])])
    assert len(joined) == 3
    assert [one.tokens for one in decoder.decode(joined, [request] * 3)] == alone


def test_what_cores_decode_side_by_side_is_what_they_decode_together() -> None:
    location = weights.resolve(str(MODEL), None, lambda _: None)
    alone = ctranslate2_decoder.load(location, device="cpu", compute_type="float32", note=lambda _: None)
    many = ctranslate2_decoder.load(location, device="cpu", compute_type="float32", note=lambda _: None, at_once=3)
    both = SideBySide(alone, many, 3)
    windows = [read(path)[: 10 * 16_000] for path in (*CLIPS, *CLIPS[:3])]
    prompt = alone.vocabulary.prompt("sv", "transcribe")
    for temperature in (0.0, 0.8):
        requests = [Request(prompt, temperature, seed=number) for number in range(len(windows))]
        expected = alone.decode(alone.encode(windows), requests)
        found = both.decode(both.encode(windows), requests)
        assert [one.tokens for one in found] == [one.tokens for one in expected]
    texts = [[token for token in one.tokens if token < alone.vocabulary.end_of_text] for one in expected]
    lengths = [len(window) for window in windows]
    found = both.align(both.encode(windows), prompt, texts, lengths)
    for begins, same in zip(found, alone.align(alone.encode(windows), prompt, texts, lengths), strict=True):
        # A path through the attention may turn a frame earlier where sums are rounded in another order.
        assert np.allclose(begins, same, atol=0.05)
    assert len(both.decode(both.encode(windows[:1]), requests[:1])) == 1


def test_an_engine_without_windows_of_its_own_does_one_job_after_the_other() -> None:
    inside = threading.Lock()

    class Alone:
        device, compute_type = "cpu", "float32"

        def transcribe(self, recording: Recording, options: TranscribeOptions, *, progress: object = None) -> object:
            def segments() -> Iterator[Segment]:
                assert inside.acquire(blocking=False), "two at once"
                for second in range(3):
                    yield Segment(second * 1000, second * 1000 + 500, options.hotwords or "")
                inside.release()

            return segments(), TranscriptionInfo("sv", 3000)

    engine = SharedEngine(Alone(), SimpleNamespace(), model="m")  # type: ignore[arg-type]
    assert not engine.resumes
    assert engine.seat() is None

    def one(number: int) -> list[str]:
        segments, _ = engine.transcribe(Recording.of(np.zeros(10, np.float32)), TranscribeOptions(hotwords=str(number)))
        return [segment.text for segment in segments]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [[str(number)] * 3 for number in range(8)]
