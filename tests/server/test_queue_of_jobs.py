"""Jobs: who is taken on, who is next, what is watched, what survives a restart, and what is forgotten."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from desk import PATIENCE, Desk, ended, until
from paper_engine import PaperEngine

from gputx_remote.engine.transcriber import Thresholds, TranscribeOptions
from gputx_remote.server.job import Job, Order, State
from gputx_remote.server.jobs import (
    DrainingError,
    Ended,
    NoSuchJobError,
    Progressed,
    QueueFullError,
    SegmentReady,
)
from gputx_remote.server.limits import Limits
from gputx_remote.server.queue import next_of
from gputx_remote.server.rate import Rate
from gputx_remote.speech.plan import SpeechOptions


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "state")
    yield desk
    desk.jobs.close()


def test_a_job_is_done_and_its_audio_is_gone(desk: Desk) -> None:
    job = desk.submit(3.0, name="möte.wav", owner="a")
    assert (job.state, job.progress) == (State.RUNNING, 0.0)
    assert desk.files(job) >= {"order.json", "audio.pcm"}
    desk.engine.allow(3)
    assert ended(desk, job).state is State.DONE
    assert job.transcript().text == "ord 0 ord 1 ord 2"
    assert (job.progress, job.outcome.windows, job.language) == (1.0, 3, "sv")
    assert "audio.pcm" not in desk.files(job)
    assert desk.jobs.queued_seconds == 0
    assert len(job.id) >= 20


def test_events_begin_at_the_beginning_whenever_one_comes_to_look(desk: Desk) -> None:
    job = desk.submit(3.0)
    desk.engine.allow(1)
    until(lambda: job.done_seconds == 1)

    async def watch() -> list[Any]:
        seen = []
        async for event in desk.jobs.events(job):
            seen.append(event)
            if len(seen) == 2:
                desk.engine.allow(2)
        return seen

    seen = asyncio.run(asyncio.wait_for(watch(), PATIENCE))
    assert [event.index for event in seen if isinstance(event, SegmentReady)] == [0, 1, 2]
    assert isinstance(seen[0], SegmentReady)
    assert seen[1] == Progressed(State.RUNNING, 1.0, 3.0)
    assert isinstance(seen[-1], Ended)
    assert seen[-1].job.state is State.DONE
    again = asyncio.run(_all(desk, job))
    assert [type(event) for event in again] == [SegmentReady] * 3 + [Ended]


async def _all(desk: Desk, job: Job) -> list[Any]:
    return [event async for event in desk.jobs.events(job)]


def test_a_failure_of_the_model_and_one_of_ours_are_told_apart(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.engine.allow(2)
    model = ended(desk, desk.submit(1.0, options=TranscribeOptions(hotwords="engine")))
    ours = ended(desk, desk.submit(1.0, options=TranscribeOptions(hotwords="bug")))
    assert model.failure is not None
    assert (model.failure.code, model.failure.message) == ("engine", "it can't be heard")
    assert ours.failure is not None
    assert ours.failure.code == "internal"
    assert "secret" not in ours.failure.message
    assert "a job failed" in caplog.text
    assert "audio.pcm" not in desk.files(ours)


def test_the_queue_is_bounded_in_seconds_and_says_when_to_come_again(desk: Desk) -> None:
    desk.jobs.close()
    jobs = desk.open(queue_seconds=100, owner_seconds=60, audio_seconds=60)
    desk.submit(50.0, owner="a")
    with pytest.raises(QueueFullError) as own:
        desk.submit(20.0, owner="a")
    assert own.value.own
    desk.submit(40.0, owner="b")
    with pytest.raises(QueueFullError) as full:
        desk.submit(30.0, owner="c")
    # 20 s too many, and before anything is measured a second takes a second.
    assert (full.value.own, full.value.retry_after) == (False, 20)
    jobs.room("c", 5.0)
    assert len(list(jobs.incoming.iterdir())) == 2  # what was refused stays its sender's to remove


def test_what_is_longer_than_the_queue_is_taken_when_it_is_empty(desk: Desk) -> None:
    desk.jobs.close()
    desk.open(queue_seconds=10, owner_seconds=10)
    job = desk.submit(20.0)
    with pytest.raises(QueueFullError):
        desk.jobs.room("", 1.0)
    desk.engine.allow(20)
    ended(desk, job)
    desk.jobs.room("", 1.0)


def test_the_rate_is_measured_over_the_time_in_which_there_was_work() -> None:
    now = 0.0
    rate = Rate(lambda: now)
    assert rate.until(30.0) == 30
    rate.begin()
    now = 10.0
    rate.done(400.0)
    assert rate.value == pytest.approx(40.0)
    rate.end()
    now = 10_000.0
    assert rate.value == pytest.approx(40.0)  # idle time is no work
    rate.begin()
    now = 10_600.0
    rate.done(600.0)  # ten minutes at one second a second: the old measurement hardly counts
    assert rate.value == pytest.approx(1.0, abs=0.1)
    assert rate.until(0.0) == 1
    assert rate.until(1e9) == 3600


def _job(seconds: float, created: float, done: float = 0.0) -> Job:
    job = Job(Order(f"{seconds} {created}", "", TranscribeOptions(), seconds, created))
    job.since = created
    job.done_seconds = done
    return job


def test_short_jobs_go_first_and_long_ones_still_get_their_turn() -> None:
    rate = Rate(time.monotonic)  # 1.0: unmeasured
    limits = Limits(running=4)
    long, short = _job(3600.0, 0.0), _job(10.0, 60.0)
    assert next_of([long, short], [], limits, rate) is short
    assert next_of([long, _job(10.0, 3600.0)], [], limits, rate) is long
    assert next_of([long, short], [short] * 4, limits, rate) is None
    # A quarter of the places is for short jobs.
    assert next_of([long], [long] * 3, limits, rate) is None
    assert next_of([long, short], [long] * 3, limits, rate) is short
    assert next_of([long], [], Limits(running=1), rate) is long


def test_a_job_of_another_owner_is_none(desk: Desk) -> None:
    job = desk.submit(1.0, owner="a")
    assert desk.jobs.get(job.id, "a") is desk.jobs.get(job.id) is job
    with pytest.raises(NoSuchJobError):
        desk.jobs.get(job.id, "b")
    assert desk.jobs.list("b") == []
    second = desk.submit(1.0, owner="a")
    assert desk.jobs.list("a") == [second, job]


@pytest.mark.parametrize("begun", [True, False])
def test_a_cancelled_job_leaves_no_audio(desk: Desk, begun: bool) -> None:
    if not begun:
        desk.jobs.close()
        desk.open(running=1)
        desk.submit(50.0)
    job = desk.submit(5.0 if begun else 500.0)
    if begun:
        desk.engine.allow(1)
        until(lambda: job.done_seconds == 1)
    assert job.state is (State.RUNNING if begun else State.QUEUED)
    desk.jobs.cancel(job.id)
    assert ended(desk, job).state is State.CANCELLED
    assert "audio.pcm" not in desk.files(job)
    desk.jobs.cancel(job.id)  # of one that has ended: away with it
    assert not desk.files(job)
    with pytest.raises(NoSuchJobError):
        desk.jobs.get(job.id)


def test_what_is_forgotten_while_it_runs_leaves_nothing(desk: Desk) -> None:
    job = desk.submit(5.0)
    desk.jobs.forget(job.id)
    assert ended(desk, job).state is State.CANCELLED
    until(lambda: not (desk.directory / "jobs" / job.id).exists())
    desk.jobs.forget(job.id)


def test_text_is_kept_for_its_time_and_no_longer(desk: Desk) -> None:
    desk.engine.allow(100)
    first = ended(desk, desk.submit(1.0))
    desk.now += 3000
    second = ended(desk, desk.submit(1.0))
    desk.now += 700
    desk.jobs.sweep()
    assert desk.jobs.list() == [second]
    assert not desk.files(first)
    desk.jobs.close()
    # The next process keeps the same hours, and no more than it should.
    desk.now += 3000
    assert desk.open().list() == []
    assert not list((desk.directory / "jobs").iterdir())


def test_no_more_ended_jobs_are_kept_than_allowed(desk: Desk) -> None:
    desk.jobs.close()
    desk.open(kept=2)
    desk.engine.allow(10)
    jobs = [ended(desk, desk.submit(1.0)) for _ in range(4)]
    desk.jobs.sweep()
    assert desk.jobs.list() == [jobs[3], jobs[2]]


def test_a_drain_lets_what_runs_end_and_leaves_the_rest_for_the_next_process(desk: Desk) -> None:
    desk.jobs.close()
    jobs = desk.open(running=1)
    running, waiting = desk.submit(2.0), desk.submit(900.0)
    attached = desk.submit(1.0, attached=True)
    draining = threading.Thread(target=jobs.drain, args=(PATIENCE,))
    draining.start()
    until(lambda: jobs.draining)
    with pytest.raises(DrainingError):
        desk.submit(1.0)
    desk.engine.allow(3)
    draining.join(PATIENCE)
    assert (running.state, attached.state, waiting.state) == (State.DONE, State.DONE, State.QUEUED)
    next_process = desk.open()
    assert next_process.get(running.id).transcript().text == "ord 0 ord 1"
    assert next_process.get(waiting.id).state is State.RUNNING


def test_a_drain_that_runs_out_of_time_stops_at_a_checkpoint(desk: Desk) -> None:
    options = TranscribeOptions(
        language=None, word_timestamps=True, thresholds=Thresholds(repeats=3), speech=SpeechOptions(threshold=0.4)
    )
    job = desk.submit(5.0, options=options, owner="a", name="x", extra={"format": "srt"})
    waits = desk.submit(5.0, attached=True)
    desk.engine.allow(2)
    until(lambda: job.done_seconds + waits.done_seconds == 2)
    desk.jobs.drain(0.0)
    assert (job.state, waits.state) == (State.QUEUED, State.FAILED)
    assert waits.failure is not None
    assert waits.failure.code == "restarting"
    done = int(job.done_seconds)
    again = desk.open().get(job.id)
    assert again.order == job.order
    assert [segment.text for segment in again.segments] == [f"ord {n}" for n in range(done)]
    desk.engine.allow(5)
    assert ended(desk, again).transcript().text == "ord 0 ord 1 ord 2 ord 3 ord 4"
    assert again.outcome.windows == 5
    assert again.language == "da"


def test_a_process_that_was_killed_loses_no_job_that_had_an_answer(desk: Desk) -> None:
    job, attached = desk.submit(3.0), desk.submit(3.0, attached=True)
    desk.engine.allow(2)
    until(lambda: job.done_seconds + attached.done_seconds == 2)
    done = int(job.done_seconds)
    # Nothing is closed: this is all the next process finds. And the last line was being written.
    segments = desk.directory / "jobs" / job.id / "segments.jsonl"
    with segments.open("a", encoding="utf-8") as file:
        file.write('{"segments": [{"start_ms": 10')
    (desk.directory / "jobs" / "half").mkdir()
    left = desk.jobs.incoming / "upload"
    left.write_bytes(b"half an upload")
    before, desk.engine = desk.jobs, PaperEngine()
    jobs = desk.open()
    again, lost = jobs.get(job.id), jobs.get(attached.id)
    assert len(again.segments) == done
    assert lost.failure is not None
    assert lost.failure.code == "restarting"
    assert "audio.pcm" not in desk.files(lost)
    assert not left.exists()
    assert len(jobs.list()) == 2
    desk.engine.allow(3)
    assert ended(desk, again).transcript().text == "ord 0 ord 1 ord 2"
    before.close()


def test_a_damaged_job_is_dropped_and_said(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    job = desk.submit(1.0)
    desk.engine.allow(1)
    ended(desk, job)
    desk.jobs.close()
    order = desk.directory / "jobs" / job.id / "order.json"
    order.write_text(json.dumps({**json.loads(order.read_text()), "id": "../../elsewhere"}))
    assert desk.open().list() == []
    assert "can't be read" in caplog.text
    assert not (desk.directory / "jobs" / job.id).exists()


def test_jobs_are_readable_by_their_owner_alone(desk: Desk) -> None:
    job = desk.submit(1.0)
    assert (desk.directory / "jobs" / job.id).stat().st_mode & 0o077 == 0
    assert desk.jobs.incoming.stat().st_mode & 0o077 == 0


def test_two_hundred_at_once_all_get_an_answer(desk: Desk) -> None:
    desk.engine.allow(200)

    def one(number: int) -> Job:
        audio = desk.jobs.incoming / str(number)
        audio.write_bytes(b"\0\0" * 16_000)
        return desk.jobs.submit(audio, 1.0, TranscribeOptions(), attached=True)

    async def answered(jobs: list[Job]) -> list[State]:
        return [job.state for job in await asyncio.gather(*map(desk.jobs.wait, jobs))]

    with ThreadPoolExecutor(16) as pool:
        submitted = list(pool.map(one, range(200)))
    assert asyncio.run(asyncio.wait_for(answered(submitted), 60)) == [State.DONE] * 200
    assert desk.jobs.running == desk.jobs.waiting == 0
