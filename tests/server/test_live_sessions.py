"""Somebody speaks: text comes while they do, and what is final is what was said."""

from __future__ import annotations

import asyncio
import csv
import threading
from collections.abc import AsyncIterator, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from paper_engine import PaperEngine
from surface import ROOT

from gputx_remote.audio.stream import read
from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.live import BACKLOG_SECONDS, Final, Live, LiveUnavailableError, Partial
from gputx_remote.server.live_cutting import LiveCutting
from gputx_remote.speech.detector import FRAME
from gputx_remote.speech.plan import SpeechOptions

HELD_OUT = ROOT / "examples" / "held-out"
PATIENCE = 240.0


def pcm(samples: np.ndarray) -> bytes:
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


def said(name: str) -> str:
    with (HELD_OUT / "clips.tsv").open(encoding="utf-8", newline="") as file:
        text = next(row["text"] for row in csv.DictReader(file, delimiter="\t") if row["file"] == name)
    return plain(text)


def plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter not in ".,!?")


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


async def listened(live: Live, pieces: AsyncIterator[bytes]) -> list[Partial | Final]:
    """Feed a session as its audio is heard, to the end."""

    async def feed() -> None:
        async for piece in pieces:
            await live.feed(piece)
        live.finish()

    feeding = asyncio.create_task(feed())
    events = [event async for event in live.events()]
    await feeding
    return events


async def spoken(live: Live, data: bytes, step: int) -> AsyncIterator[bytes]:
    """Pieces of a few samples, each once what came before has been heard: the speed of the test is the model's."""
    for start in range(0, len(data), step):
        yield data[start : start + step]
        while len(live._inbox) > 32_000 and not live._over:
            await asyncio.sleep(0.001)


def finals(events: list[Partial | Final]) -> str:
    return " ".join(event.segment.text for event in events if isinstance(event, Final))


def test_text_comes_while_somebody_speaks_and_is_right_in_the_end(engine: SharedEngine) -> None:
    async def session() -> list[Partial | Final]:
        live = Live(engine, TranscribeOptions(word_timestamps=True))
        # 3,001 bytes: pieces end in the middle of a sample.
        return await listened(live, spoken(live, pcm(read(HELD_OUT / "clip01.flac")), 3001))

    events = run(session())
    assert jiwer.wer(said("clip01.flac"), plain(finals(events))) < 0.1
    segments = [event.segment for event in events if isinstance(event, Final)]
    assert len(segments) >= 2  # one a phrase
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(segments))
    assert all(segment.words for segment in segments)
    first = next(number for number, event in enumerate(events) if isinstance(event, Final))
    assert any(isinstance(event, Partial) for event in events[first:])  # it did not wait for the end
    partial = [event.text for event in events[:first] if isinstance(event, Partial)]
    assert partial
    assert plain(segments[0].text).startswith(plain(partial[0]).split()[0])


def test_silence_says_nothing_at_all(engine: SharedEngine) -> None:
    async def session() -> list[Partial | Final]:
        live = Live(engine, TranscribeOptions())
        return await listened(live, spoken(live, pcm(np.zeros(16_000 * 8)), 6400))

    assert run(session()) == []


def test_nothing_at_all_ends_at_once(engine: SharedEngine) -> None:
    async def session() -> tuple[list[Partial | Final], float]:
        live = Live(engine, TranscribeOptions())
        live.finish()
        return [event async for event in live.events()], live.seconds

    assert run(session()) == ([], 0.0)


def test_who_leaves_in_the_middle_frees_the_seat(engine: SharedEngine) -> None:
    assert engine.decoder is not None

    async def session() -> list[Partial | Final]:
        live = Live(engine, TranscribeOptions())
        await live.feed(pcm(read(HELD_OUT / "clip00.flac")))
        live.close()
        return [event async for event in live.events()]

    assert finals(run(session())) == ""
    assert engine.decoder.share >= min(16, engine.decoder.turn)


def test_audio_sent_faster_than_it_is_heard_has_to_wait(engine: SharedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, take = threading.Event(), Live._take

    def held(live: Live) -> tuple[np.ndarray, bool]:
        gate.wait(PATIENCE)
        return take(live)

    monkeypatch.setattr(Live, "_take", held)

    async def session() -> float:
        live = Live(engine, TranscribeOptions())
        await live.feed(bytes(int(BACKLOG_SECONDS * 32_000) + 2))
        more = asyncio.create_task(live.feed(bytes(32_000)))
        done, _ = await asyncio.wait([more], timeout=0.05)
        assert not done
        gate.set()
        await more
        live.finish()
        assert [event async for event in live.events()] == []
        return live.seconds

    assert run(session()) == pytest.approx(BACKLOG_SECONDS + 1, abs=0.01)


def test_the_first_phrase_decides_the_language(engine: SharedEngine) -> None:
    async def session() -> str:
        live = Live(engine, TranscribeOptions(language=None))
        await listened(live, spoken(live, pcm(read(HELD_OUT / "clip00.flac")), 6400))
        return live.language

    assert run(session()) in engine.vocabulary.languages


def test_an_engine_without_windows_of_its_own_says_that_it_cannot() -> None:
    paper = PaperEngine()
    paper.seat = lambda **_: None  # type: ignore[attr-defined]

    async def session() -> None:
        Live(paper, TranscribeOptions())  # type: ignore[arg-type]

    with pytest.raises(LiveUnavailableError, match="vad"):
        run(session())


def test_windows_are_cut_alike_however_the_sound_arrives(tmp_path: Path) -> None:
    samples = read(HELD_OUT / "clip03.flac")
    samples = samples[: len(samples) // FRAME * FRAME]

    def cut(step: int) -> list[tuple[int, int]]:
        cutting = LiveCutting(SpeechOptions(), pytest.fail)
        found = [window for at in range(0, len(samples), step) for window in cutting.push(samples[at : at + step])]
        found += cutting.push(samples[:0], last=True)
        assert all(len(heard) == window.stop - window.start for window, heard in found)
        assert all(np.array_equal(heard, samples[window.start : window.stop]) for window, heard in found)
        return [(window.start, window.stop) for window, _ in found]

    windows = cut(FRAME)
    assert len(windows) > 2
    assert windows == cut(8 * FRAME) == cut(64 * FRAME)
