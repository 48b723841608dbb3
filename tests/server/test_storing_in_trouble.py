"""An S3 that is silent, refuses, or comes back: what waits for it, and what does not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from desk import PATIENCE, Desk, ended

from gputx_remote.server import storing
from gputx_remote.server.job import Job
from gputx_remote.server.s3 import Signer
from gputx_remote.server.storing import AT_ONCE, FORMATS, Results

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


class Bucket(Signer):
    """It keeps what is put, fails as often as it is told to, and is silent while it is closed."""

    def __init__(self) -> None:
        super().__init__("eu-north-1", KEYS)
        self.puts: list[str] = []
        self.failures = 0
        self.open = threading.Event()
        self.open.set()
        self.busy = 0
        self.put_hook: Callable[[], object] = lambda: None

    def who(self) -> str:
        return "AROA:i-0"

    def put(self, bucket: str, key: str, data: bytes, media_type: str) -> None:
        assert (bucket, bool(data), bool(media_type)) == ("b", True, True)
        self.busy += 1
        assert self.open.wait(PATIENCE)
        self.busy -= 1
        if self.failures:
            self.failures -= 1
            raise OSError("silent")
        self.puts.append(key)
        self.put_hook()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "state")
    desk.engine.allow(100)
    yield desk
    desk.jobs.close()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    yield bucket
    bucket.open.set()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "PAUSES", (0.0,) * 4)


def _results(bucket: Bucket) -> Results:
    return Results("s3://b/results", bucket, "tiny")


def _followed(desk: Desk, results: Results, *jobs: Job) -> None:
    async def follow() -> None:
        for job in jobs:
            results.follow(desk.jobs, job)
        await asyncio.wait([*results._under_way], timeout=PATIENCE)

    asyncio.run(follow())
    assert not results._under_way


def test_what_is_stored_is_not_stored_again_by_the_next_process(desk: Desk, bucket: Bucket) -> None:
    job = ended(desk, desk.submit(1.0))
    results = _results(bucket)
    _followed(desk, results, job)
    assert len(bucket.puts) == len(FORMATS) + 1
    addresses = results.urls(job)
    assert set(addresses) == set(FORMATS)
    desk.jobs.close()
    again = desk.open().get(job.id)
    later = _results(bucket)
    _followed(desk, later, again)
    assert len(bucket.puts) == len(FORMATS) + 1
    # The same objects, whoever the next process is.
    assert {url.partition("?")[0] for url in later.urls(again).values()} == {
        url.partition("?")[0] for url in addresses.values()
    }


def test_what_was_taken_away_is_not_stored(desk: Desk, bucket: Bucket) -> None:
    job = ended(desk, desk.submit(1.0))
    desk.jobs.forget(job.id)
    _followed(desk, _results(bucket), job)
    assert bucket.puts == []


def test_what_is_taken_away_between_attempts_is_not_tried_again(
    desk: Desk, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(desk, desk.submit(1.0))
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        desk.jobs.forget(job.id)
        await real(seconds)

    monkeypatch.setattr(storing.asyncio, "sleep", sleep)
    bucket.failures = 1
    _followed(desk, _results(bucket), job)
    assert bucket.puts == []


def test_what_is_taken_away_amid_its_objects_is_left_there(desk: Desk, bucket: Bucket) -> None:
    job = ended(desk, desk.submit(1.0))
    bucket.put_hook = lambda: desk.jobs.forget(job.id)
    results = _results(bucket)
    _followed(desk, results, job)
    assert len(bucket.puts) == 1
    assert results.urls(job) == {}


def test_an_s3_that_comes_back_gets_the_text(desk: Desk, bucket: Bucket) -> None:
    job = ended(desk, desk.submit(1.0))
    bucket.failures = 3
    _followed(desk, _results(bucket), job)
    assert len(bucket.puts) == len(FORMATS) + 1
    bucket.failures = 5
    second = ended(desk, desk.submit(1.0))
    _followed(desk, _results(bucket), second)
    assert not second.stored


def test_a_silent_s3_holds_up_neither_uploads_nor_the_end(desk: Desk, bucket: Bucket) -> None:
    bucket.open.clear()
    jobs = [ended(desk, desk.submit(1.0)) for _ in range(8)]
    waiting = desk.submit(500.0)  # one that is left for the next process

    async def serve() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        results = _results(bucket)
        for job in (*jobs, waiting):
            results.follow(desk.jobs, job)
        while bucket.busy < AT_ONCE:
            await asyncio.sleep(0.001)
        await asyncio.wait_for(asyncio.to_thread(int), PATIENCE)  # what an upload does
        assert bucket.busy == AT_ONCE
        await results.settle(0.01)
        await asyncio.wait_for(asyncio.gather(*results._under_way, return_exceptions=True), PATIENCE)

    began = time.monotonic()
    asyncio.run(serve())  # which waits for its executor's threads
    assert bucket.busy == AT_ONCE
    assert time.monotonic() - began < PATIENCE / 2
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "storing")


def test_the_end_waits_for_no_job_that_has_not_ended(desk: Desk, bucket: Bucket) -> None:
    job = desk.submit(500.0)

    async def serve() -> None:
        results = _results(bucket)
        results.follow(desk.jobs, job)
        await asyncio.wait_for(results.settle(1e6), PATIENCE)

    asyncio.run(serve())
