"""``Idempotency-Key``: a recording that is sent twice is one job, also while it is decoded, and after a restart."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from paper_engine import PaperEngine
from surface import CLIP, OTHER, TOKEN, Surface

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server.decoding import AudioRefusedError
from gputx_remote.server.job import Job
from gputx_remote.server.jobs import KEY, Jobs
from gputx_remote.server.limits import Limits


def send(surface: Surface, key: str | None, token: str = TOKEN, path: Path = CLIP) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    with surface.client(token) as client:
        return client.post("/transcribe?async=1", files={"audio": path.read_bytes()}, headers=headers)


def jobs_of(surface: Surface) -> set[str]:
    with surface.client() as client:
        return {job["id"] for job in client.get("/jobs").json()["jobs"]}


def test_the_same_key_is_the_same_job_and_of_the_same_token_only(surface: Surface) -> None:
    before = jobs_of(surface)
    first, again = send(surface, "k1"), send(surface, "k1")
    assert first.status_code == again.status_code == httpx.codes.ACCEPTED
    assert first.headers["location"] == again.headers["location"]
    another = send(surface, "k2").json()["id"]
    assert jobs_of(surface) - before == {first.json()["id"], another}
    assert send(surface, "k1", OTHER).json()["id"] != first.json()["id"]
    assert surface.settled() == []
    with surface.client() as client:
        # What is not there any more, or came to nothing, is made anew.
        client.delete(first.headers["location"])
        client.delete(first.headers["location"])
    assert send(surface, "k1").json()["id"] != first.json()["id"]


@pytest.mark.parametrize("first_is_refused", [False, True])
def test_a_key_whose_recording_is_still_being_decoded(
    surface: Surface, monkeypatch: pytest.MonkeyPatch, first_is_refused: bool
) -> None:
    rooms = surface.service.loaded()
    decode, begun, go = rooms.decoder.decode, threading.Semaphore(0), threading.Event()
    decoded: list[Path] = []

    async def slowly(upload: Path, *whose: Any) -> Any:
        decoded.append(upload)
        begun.release()
        await asyncio.to_thread(go.wait, 20)
        if first_is_refused and len(decoded) == 1:
            raise AudioRefusedError("unreadable", "no audio")
        return await decode(upload, *whose)

    monkeypatch.setattr(rooms.decoder, "decode", slowly)
    waiting = surface.service.once._making
    key = f"slow {first_is_refused}"
    with ThreadPoolExecutor(2) as together:
        first: Future[httpx.Response] = together.submit(send, surface, key)
        assert begun.acquire(timeout=20)
        second = together.submit(send, surface, key)
        until(lambda: surface.service._slots.total() == 2)
        assert len(waiting) == 1
        go.set()
        answers = [first.result(30), second.result(30)]
    if first_is_refused:
        assert [answer.status_code for answer in answers] == [400, 202]
        assert len(decoded) == 2
    else:
        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[0].json()["id"] == answers[1].json()["id"]
        assert len(decoded) == 1
    assert not waiting  # nothing of it is remembered but in the job


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_a_key_that_can_not_be(surface: Surface) -> None:
    for key in ("", "x" * 256):
        answer = send(surface, key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


def test_a_key_outlives_the_process_and_goes_with_its_job(tmp_path: Path) -> None:
    now = 1_000_000.0

    def opened(engine: PaperEngine) -> Jobs:
        return Jobs(engine, tmp_path, Limits(keep_seconds=60), clock=lambda: now)  # type: ignore[arg-type]

    def submitted(jobs: Jobs, key: str) -> Job:
        audio = jobs.incoming / f"{key}.pcm"
        audio.write_bytes(b"\0\0" * 16_000)
        return jobs.submit(audio, 1.0, TranscribeOptions(), owner="a", extra={KEY: key})

    engine = PaperEngine()
    jobs = opened(engine)
    kept, cancelled = submitted(jobs, "k1"), submitted(jobs, "k2")
    jobs.cancel(cancelled.id)
    assert jobs.keyed("a", "k2") is None  # before it has ended, too
    assert jobs.keyed("a", "k1") is kept
    assert jobs.keyed("b", "k1") is None
    jobs.close()
    jobs = opened(engine)
    found = jobs.keyed("a", "k1")
    assert found is not None
    assert found.id == kept.id
    engine.allow(1)
    asyncio.run(asyncio.wait_for(jobs.wait(found), 10))
    assert jobs.keyed("a", "k1") is found
    now += 61
    jobs.sweep()
    assert jobs.keyed("a", "k1") is None
    jobs.close()
