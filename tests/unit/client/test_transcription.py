"""The client's half of the worker protocol, against a worker that keeps to it, and one that does not."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from clocks import ManualClock

from gputx.errors import AudioError, ConfigurationError, GputxError, InstanceLostError
from gputx.events import EventStream, PhaseStarted
from gputx.models import FileReport
from gputx.workflows.hosts import DeliveryError
from gputx.workflows.inputs import Source
from gputx.workflows.jobs import Job
from gputx.workflows.story import Story
from gputx.workflows.transcription import Transcription
from gputx.workflows.worker import Asked, WorkerEndedError
from gputx_remote.audio import Prepared

HELLO = {"event": "hello", "protocol": 1, "version": "0", "pid": 1}
READY = {"event": "model", "state": "ready", "model": "m", "revision": "r", "device": "cpu", "dtype": "float32"}
Script = Callable[[dict[str, Any]], list[dict[str, Any] | str | None]]


@dataclass
class ScriptedWorker:
    """A LineStream whose answers to each command come from a function; None in them ends it, as a crash would."""

    script: Script
    greeting: list[Any] = field(default_factory=lambda: [HELLO, READY])
    lines_out: queue.Queue[str | None] = field(default_factory=queue.Queue)
    closed: bool = False

    def __post_init__(self) -> None:
        self._answer(self.greeting)

    def _answer(self, events: list[Any]) -> None:
        for event in events:
            self.lines_out.put(event if event is None or isinstance(event, str) else json.dumps(event))

    def write_line(self, line: str) -> None:
        if self.closed:
            raise WorkerEndedError("it has gone")
        command = json.loads(line)
        self._answer([None] if command["op"] == "quit" else self.script(command))

    def lines(self) -> Iterator[str]:
        while (line := self.lines_out.get(timeout=10)) is not None:
            yield line

    def close(self) -> None:
        self.closed = True
        self.lines_out.put(None)

    def epitaph(self) -> str:
        return "exit status 9"


@dataclass
class ScriptedBench:
    """A Bench that starts the workers it was given, one after the other."""

    workers: list[ScriptedWorker]
    lost: bool = False
    full: set[str] = field(default_factory=set)
    delivered: list[str] = field(default_factory=list)

    def start_worker(self) -> ScriptedWorker:
        return self.workers.pop(0)

    def deliver(self, audio: Path, progress: Callable[[int, int], None]) -> str:
        if audio.name in self.full:
            raise DeliveryError("no space left there")
        progress(1, 1)
        self.delivered.append(audio.name)
        return f"in/{audio.name}"

    def check(self) -> None:
        if self.lost:
            raise InstanceLostError("it was taken away")


def well(command: dict[str, Any]) -> list[Any]:
    """What a worker says of a file that goes well."""
    id_ = command["id"]
    return [
        {"event": "started", "id": id_, "duration": 4.0},
        {"event": "progress", "id": id_, "done": 4.0, "total": 4.0, "windows": 1},
        {"event": "segment", "id": id_, "start_ms": 0, "end_ms": 4000, "text": f"Text of {command['path']}."},
        {"event": "finished", "id": id_, "language": "sv", "duration": 4.0, "processing_time": 1.0, "windows": 1},
    ]


def dying(command: dict[str, Any]) -> list[Any]:
    return [*well(command)[:3], None]


def jobs(*names: str) -> list[Job]:
    made = []
    for name in names:
        job = Job(name, Source(name, Path(name), name), name, FileReport(name), expected_seconds=4.0)
        job.prepared = Future()
        job.prepared.set_result(Prepared(Path(f"{name}.flac"), 4000, 10, 10, "0" * 64, 0, 0, 0))
        made.append(job)
    return made


def work(bench: ScriptedBench, tasks: list[Job]) -> list[str]:
    finished: list[str] = []
    story = Story(EventStream(), ManualClock())
    Transcription(bench, tasks, Asked("sv", "transcribe"), story, lambda job: finished.append(job.id)).run()
    return finished


def test_each_file_is_told_as_soon_as_it_is_done() -> None:
    tasks = jobs("a", "b")
    assert work(ScriptedBench([ScriptedWorker(well)]), tasks) == ["a", "b"]
    assert [job.report.transcript.text for job in tasks if job.report.transcript] == [
        "Text of in/a.flac.",
        "Text of in/b.flac.",
    ]


def test_a_file_that_can_not_be_read_or_sent_fails_alone() -> None:
    tasks = jobs("bad", "big", "good")
    tasks[0].prepared = Future()
    tasks[0].prepared.set_exception(AudioError("it is damaged"))
    assert work(ScriptedBench([ScriptedWorker(well)], full={"big.flac"}), tasks) == ["bad", "big", "good"]
    assert [job.report.error for job in tasks] == ["it is damaged", "no space left there", None]


def test_a_worker_that_dies_is_replaced_once_and_nothing_is_sent_twice() -> None:
    tasks = jobs("a", "b")
    bench = ScriptedBench([ScriptedWorker(dying), ScriptedWorker(well)])
    assert work(bench, tasks) == ["a", "b"]
    assert bench.delivered == ["a.flac", "b.flac"]
    assert all(len(job.report.transcript.segments) == 1 for job in tasks if job.report.transcript)


def test_a_file_that_is_begun_again_is_one_phase_and_has_its_text_once() -> None:
    """As where a server was lost that was at work on it."""
    begun: list[str] = []
    events = EventStream([lambda event: begun.append(event.name) if isinstance(event, PhaseStarted) else None])
    (task,) = jobs("a")
    bench = ScriptedBench([ScriptedWorker(lambda command: well(command)[:3] + well(command))])
    Transcription(bench, [task], Asked("sv", "transcribe"), Story(events, ManualClock()), lambda _: None).run()
    assert task.report.transcript is not None
    assert len(task.report.transcript.segments) == 1
    assert begun.count("transcribe") == 1


def test_a_file_that_kills_two_workers_is_given_up() -> None:
    tasks = jobs("a", "b")
    kill_a: Script = lambda command: dying(command) if command["id"] == "a" else well(command)  # noqa: E731
    bench = ScriptedBench([ScriptedWorker(kill_a), ScriptedWorker(kill_a), ScriptedWorker(well)])
    assert work(bench, tasks) == ["a", "b"]
    assert "twice" in (tasks[0].report.error or "")
    assert tasks[1].report.error is None


def test_a_worker_that_died_with_its_instance_means_the_instance() -> None:
    with pytest.raises(InstanceLostError):
        work(ScriptedBench([ScriptedWorker(dying)], lost=True), jobs("a"))


def test_a_file_that_could_not_be_stored_because_its_instance_was_going_means_the_instance() -> None:
    task = jobs("a")
    with pytest.raises(InstanceLostError):
        work(ScriptedBench([ScriptedWorker(well)], lost=True, full={"a.flac"}), task)
    assert not task[0].done


@pytest.mark.parametrize(
    ("greeting", "kind", "words"),
    [
        ([HELLO, {"event": "fatal", "kind": "model", "error": "no such model"}], ConfigurationError, "no such model"),
        ([{**HELLO, "protocol": 2}], GputxError, "protocol 2"),
        (["Segmentation fault"], GputxError, "unexpected"),
        ([HELLO, {"event": "finished", "id": "nobody"}], GputxError, "unexpected"),
        ([HELLO, None], GputxError, "exit status 9"),
    ],
)
def test_a_worker_that_can_not_begin(greeting: list[Any], kind: type[GputxError], words: str) -> None:
    with pytest.raises(kind, match=words):
        work(ScriptedBench([ScriptedWorker(well, greeting)]), jobs("a"))
