"""Jobs survive what happens to processes, disks and clocks: each file is written so that the next process can go on."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desk import PATIENCE, Desk, ended, until
from paper_engine import PaperEngine

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server import store
from gputx_remote.server.job import Job, Order, Outcome, State
from gputx_remote.server.store import Store
from gputx_remote.transcript import Segment

NO_SPACE = OSError(errno.ENOSPC, "no space")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "state")
    yield desk
    desk.jobs.close()


def _order(**more: Any) -> Order:
    return Order(**{"id": "abc", "owner": "", "options": TranscribeOptions(), "seconds": 3.0, "created": 1.0, **more})


def _added(directory: Path) -> tuple[Store, Job]:
    kept = Store(directory)
    audio = kept.incoming / "a.pcm"
    audio.write_bytes(b"\0\0" * 48_000)
    job = Job(_order())
    kept.add(job, audio)
    return kept, job


def _window(kept: Store, job: Job, number: int) -> None:
    job.segments.append(Segment(number * 1000, number * 1000 + 900, f"ord {number}"))
    kept.window(job, number + 1.0, Outcome(windows=number + 1))


def _loaded(directory: Path) -> list[Job]:
    return list(Store(directory).load())


@pytest.mark.parametrize("killed_at", ["fsync", "rename", "unlink"])
def test_a_job_that_ends_is_never_lost_whenever_its_process_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    kept, job = _added(tmp_path)
    _window(kept, job, 0)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*((store.os, killed_at) if killed_at == "fsync" else (Path, killed_at)), killed)
        with pytest.raises(KeyboardInterrupt):
            kept.end(job, State.DONE)
    (again,) = _loaded(tmp_path)
    assert again.segments == job.segments
    assert again.state is (State.DONE if killed_at == "unlink" else State.QUEUED)
    # The audio is there as long as it is needed, and no longer.
    assert kept.audio(again).exists() is (again.state is State.QUEUED)


def test_a_line_that_was_cut_off_costs_its_window_and_no_restart_the_job(tmp_path: Path) -> None:
    kept, job = _added(tmp_path)
    _window(kept, job, 0)
    lines = kept.audio(job).with_name("segments.jsonl")
    with lines.open("a", encoding="utf-8") as file:
        file.write('{"segments": [{"start_ms": 0, "te')
    (second,) = _loaded(tmp_path)
    assert second.done_seconds == 1.0
    _window(kept, second, 1)
    _window(kept, second, 2)
    (third,) = _loaded(tmp_path)
    assert third.transcript().text == "ord 0 ord 1 ord 2"


@pytest.mark.parametrize("wrong", ["{nonsense", "5", '{"segments": [3], "done": 1}', '{"segments": [], "done": null}'])
def test_reading_ends_at_the_first_line_that_can_not_be_read(tmp_path: Path, wrong: str) -> None:
    kept, job = _added(tmp_path)
    for number in range(3):
        _window(kept, job, number)
    lines = kept.audio(job).with_name("segments.jsonl")
    whole = lines.read_text(encoding="utf-8").splitlines(keepends=True)
    lines.write_text(whole[0] + wrong + "\n" + whole[2], encoding="utf-8")
    (again,) = _loaded(tmp_path)
    assert (again.transcript().text, again.done_seconds) == ("ord 0", 1.0)
    assert lines.read_text(encoding="utf-8") == whole[0]


def test_a_text_with_a_hole_is_not_taken_for_a_whole_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept, job = _added(tmp_path)
    _window(kept, job, 0)
    _window(kept, job, 1)
    kept.end(job, State.DONE)
    lines = kept.audio(job).with_name("segments.jsonl")
    lines.write_bytes(lines.read_bytes()[:-5])
    assert _loaded(tmp_path) == []
    assert "can't be read" in caplog.text


def test_half_a_line_is_taken_back_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, job = _added(tmp_path)
    _window(kept, job, 0)
    write = store.os.write

    def short(descriptor: int, data: bytes) -> int:
        if len(data) <= 20:
            raise NO_SPACE
        return write(descriptor, data[:-20])

    with monkeypatch.context() as patched:
        patched.setattr(store.os, "write", short)
        with pytest.raises(OSError, match="no space"):
            _window(kept, job, 1)
    _window(kept, job, 2)
    (again,) = _loaded(tmp_path)
    assert again.transcript().text == "ord 0 ord 1 ord 2"  # carried into the next line


def test_a_full_disk_costs_no_job(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, full = store._append, threading.Event()

    def append(path: Path, line: bytes) -> None:
        if full.is_set():
            raise NO_SPACE
        real(path, line)

    monkeypatch.setattr(store, "_append", append)
    full.set()
    job, unlucky = desk.submit(3.0), desk.submit(2.0)
    desk.engine.allow(2)
    until(lambda: job.done_seconds + unlucky.done_seconds == 2)
    desk.engine.allow(3)
    # To the end on a full disk: who asked has the text, and the audio is kept until the text is on disk.
    assert [ended(desk, one).state for one in (job, unlucky)] == [State.DONE] * 2
    assert "audio.pcm" in desk.files(job)
    assert caplog.text.count("a window can't be noted") == 2
    full.clear()
    desk.jobs.sweep()
    assert "audio.pcm" not in desk.files(job)
    assert desk.open().get(job.id).transcript().text == "ord 0 ord 1 ord 2"


def test_what_is_cancelled_on_a_full_disk_does_not_live_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.submit(3.0)

    def write(*_: Any, **__: Any) -> None:
        raise NO_SPACE

    with monkeypatch.context() as patched:
        patched.setattr(store, "_write", write)
        desk.jobs.cancel(job.id)
        assert ended(desk, job).state is State.CANCELLED
    until(lambda: not desk.jobs.running)
    assert not desk.files(job)
    assert desk.open().list() == []


def test_an_engine_that_begins_anew_leaves_no_line_of_the_first_time(desk: Desk) -> None:
    job = desk.submit(2.0)
    desk.engine.allow(1)
    until(lambda: job.done_seconds == 1)
    desk.jobs.close()
    desk.engine = PaperEngine()
    desk.engine.resumes = False
    again = desk.open().get(job.id)
    desk.engine.allow(2)
    ended(desk, again)
    desk.jobs.close()
    assert desk.open().get(job.id).transcript().text == "ord 0 ord 1"


def test_who_cancels_a_job_that_a_drain_is_stopping_has_cancelled_it(desk: Desk) -> None:
    job = desk.submit(5.0)
    desk.engine.hold(True)
    draining = threading.Thread(target=desk.jobs.drain, args=(0.0,))
    draining.start()
    until(lambda: desk.jobs._stopping)
    desk.jobs.cancel(job.id)
    desk.engine.hold(False)
    draining.join(PATIENCE)
    assert ended(desk, job).state is State.CANCELLED
    assert desk.open().get(job.id).state is State.CANCELLED


def test_age_does_not_hang_on_the_clock(desk: Desk) -> None:
    desk.engine.allow(100)
    desk.now += 86_400  # it is ahead, and is set right after the first job
    first = ended(desk, desk.submit(1.0))
    desk.now -= 86_400
    second, third = ended(desk, desk.submit(1.0)), ended(desk, desk.submit(1.0))
    assert desk.jobs.list() == [third, second, first]
    desk.jobs.close()
    jobs = desk.open(kept=2)
    assert [job.id for job in jobs.list()] == [third.id, second.id]
    fourth = desk.submit(1.0)
    assert jobs.list()[0] is fourth


def test_a_text_from_a_clock_that_was_ahead_is_kept_no_longer_than_others(desk: Desk) -> None:
    desk.engine.allow(1)
    desk.now += 86_400
    ended(desk, desk.submit(1.0))
    desk.now -= 86_400
    desk.jobs.sweep()
    desk.now += 3601
    desk.jobs.sweep()
    assert desk.jobs.list() == []


def test_a_job_that_was_stamped_ahead_waits_no_longer_than_one_that_comes_now(desk: Desk) -> None:
    desk.jobs.close()
    desk.open(running=1)
    desk.now += 86_400
    desk.submit(50.0)
    early = desk.submit(10.0)
    desk.now -= 86_400
    late = desk.submit(11.0)
    desk.jobs.cancel(desk.jobs.list()[-1].id)
    until(lambda: early.state is State.RUNNING)
    assert late.state is State.QUEUED
    desk.jobs.close()
    desk.engine = PaperEngine()
    desk.open(running=1)
    until(lambda: desk.jobs.running)
    assert desk.jobs.get(early.id).state is State.RUNNING


def test_what_an_engine_complains_of_in_many_lines_is_told_in_one(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    job = desk.submit(1.0, options=TranscribeOptions(hotwords="lines"))
    desk.engine.allow(1)
    failure = ended(desk, job).failure
    assert failure is not None
    assert (failure.code, failure.message) == ("engine", "CUDA error: device-side assert triggered")
    assert "could not transcribe" in caplog.text
    record = json.loads((desk.directory / "jobs" / job.id / "end.json").read_text(encoding="utf-8"))
    assert "\n" not in record["failure"]["message"]


def _killed(desk: Desk, name: str) -> Desk:
    """What the next process finds where this one is killed now."""
    left = desk.directory.with_name(name)
    shutil.copytree(desk.directory, left)
    desk.jobs.close()
    return Desk(left)


def _begun(desk: Desk) -> set[str]:
    """The jobs that this process has noted as under way."""

    def noted(job: Job) -> bool:
        path = desk.directory / "jobs" / job.id / "begun"
        return path.exists() and json.loads(path.read_text())["deaths"] == job.deaths

    return {job.id for job in desk.jobs.list() if job.state is State.RUNNING and noted(job)}


def test_a_job_that_ends_each_process_is_given_up_and_no_other_is(desk: Desk) -> None:
    both = {desk.submit(2.0).id, desk.submit(2.0).id}
    until(lambda: _begun(desk) == both)
    second = _killed(desk, "second")
    until(lambda: _begun(second) == both)
    # Twice both were under way: from here on each is tried by itself.
    third = _killed(second, "third")
    until(lambda: len(_begun(third)) == 1)
    (deadly,), (innocent,) = _begun(third), both - _begun(third)
    fourth = _killed(third, "fourth")
    try:
        failed = fourth.jobs.get(deadly)
        assert failed.state is State.FAILED
        assert failed.failure is not None
        assert "ended 3 times in a row" in failed.failure.message
        until(lambda: _begun(fourth) == {innocent})
        fourth.engine.allow(2)
        assert ended(fourth, fourth.jobs.get(innocent)).state is State.DONE
    finally:
        fourth.jobs.close()


def test_a_process_that_puts_its_jobs_down_was_not_ended_by_them(desk: Desk) -> None:
    job = desk.submit(2.0)
    for _ in range(4):
        until(lambda: _begun(desk) == {job.id})
        desk.jobs.close()
        assert "begun" not in desk.files(job)
        desk.open()
    desk.engine.allow(2)
    assert ended(desk, desk.jobs.get(job.id)).state is State.DONE


def test_a_process_that_dies_further_on_says_nothing_of_the_windows_before(desk: Desk) -> None:
    job = desk.submit(4.0)
    for second in range(3):
        desk.engine.allow(1)
        until(lambda jobs=desk.jobs, second=second: jobs.get(job.id).done_seconds == second + 1)
        desk = _killed(desk, f"after-{second}")
        assert desk.jobs.get(job.id).deaths == 1
    desk.jobs.close()
