"""What a worker makes of its commands, with an engine that is told what to hear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from material import MakeFile, tone

from gputx_remote import worker
from gputx_remote.audio.recording import Recording
from gputx_remote.engine.transcriber import Progress, TranscribeOptions, TranscriptionInfo
from gputx_remote.errors import EngineError, ProtocolError
from gputx_remote.transcript import Segment


class Parrot:
    """An engine that hears "hej", or fails."""

    def __init__(self, failure: str | None = None) -> None:
        self.failure = failure
        self.asked: list[TranscribeOptions] = []

    def transcribe(
        self, recording: Recording, options: TranscribeOptions, *, progress: Progress | None = None
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        self.asked.append(options)
        info = TranscriptionInfo(options.language or "sv", recording.duration_ms)

        def segments() -> Iterator[Segment]:
            if self.failure:
                raise EngineError(self.failure)
            info.windows += 1
            if progress is not None:
                progress(1.0, 1.0)
            yield Segment(0, 500, "hej")

        return segments(), info


class Ear:
    """Collects events; goes deaf after so many."""

    def __init__(self, deaf_after: int | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.deaf_after = deaf_after

    def __call__(self, event: str, /, **fields: Any) -> None:
        if self.deaf_after is not None and len(self.events) >= self.deaf_after:
            raise BrokenPipeError
        self.events.append({"event": event, **fields})

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


def ask(path: Path, name: str = "a") -> bytes:
    return json.dumps({"op": "transcribe", "id": name, "path": str(path), "options": {"language": "sv"}}).encode()


def test_a_file_from_start_to_finish(sound: MakeFile) -> None:
    ear, engine = Ear(), Parrot()
    assert worker.obey([ask(sound("a.wav", tone(1, 16_000), 16_000))], engine, ear) is False
    assert ear.names == ["started", "progress", "segment", "finished"]
    assert ear.events[0]["duration"] == 1.0
    assert ear.events[1] == {"event": "progress", "id": "a", "done": 1.0, "total": 1.0, "windows": 1}
    assert ear.events[2] == {"event": "segment", "id": "a", "start_ms": 0, "end_ms": 500, "text": "hej"}
    assert engine.asked == [TranscribeOptions("sv", "transcribe")]


def test_a_bad_file_does_not_sink_the_next(sound: MakeFile, tmp_path: Path) -> None:
    ear = Ear()
    good = sound("a.wav", tone(1, 16_000), 16_000)
    worker.obey([ask(tmp_path / "none", "bad"), ask(good, "good")], Parrot(), ear)
    assert [(e["event"], e["id"]) for e in ear.events][::4] == [("failed", "bad"), ("finished", "good")]


def test_a_failing_engine_fails_the_file_only(sound: MakeFile) -> None:
    ear = Ear()
    good = sound("a.wav", tone(1, 16_000), 16_000)
    assert worker.obey([ask(good), b'{"op": "quit"}'], Parrot("no"), ear) is True
    assert ear.names == ["started", "failed"]
    assert ear.events[1] == {"event": "failed", "id": "a", "kind": "engine", "error": "no"}


def test_nonsense_ends_the_worker(sound: MakeFile) -> None:
    ear = Ear()
    with pytest.raises(ProtocolError):
        worker.obey([b"nonsense"], Parrot(), ear)
    assert worker.fatal(ProtocolError("why"), ear) == 3
    assert ear.events == [{"event": "fatal", "kind": "protocol", "error": "why"}]


def test_work_stops_when_nobody_listens(sound: MakeFile) -> None:
    ear = Ear(deaf_after=1)
    with pytest.raises(BrokenPipeError):
        worker.obey([ask(sound("a.wav", tone(1, 16_000), 16_000))] * 2, Parrot(), ear)
    assert ear.names == ["started"]


def test_stray_prints_do_not_reach_the_protocol() -> None:
    script = (
        "import os, sys; from gputx_remote.worker import stdout_events; emit = stdout_events();"
        "print('stray'); os.write(1, b'from C'); os.system('echo child'); emit('note', text='å')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=os.environ, check=True, timeout=60)
    assert done.stdout == '{"event": "note", "text": "å"}\n'.encode()
    assert {b"stray", b"child"} <= set(done.stderr.replace(b"from C", b"").split())


def test_writing_goes_on_after_a_short_write() -> None:
    taken = bytearray()

    def three_bytes(_: int, data: bytes) -> int:
        taken.extend(data[:3])
        return min(3, len(data))

    worker.write_all(0, b"0123456789", three_bytes)
    assert taken == b"0123456789"
