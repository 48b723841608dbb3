"""Getting all jobs through workers on one bench: audio goes over while the model loads, text comes back.

A worker that dies takes down only the file it was at, and that file gets one more try in a new worker. A bench
that is lost raises InstanceLostError: what was finished stays finished.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from typing import Any

from gputx.errors import AudioError, ConfigurationError, GputxError, InstanceLostError, InterruptedBySignal
from gputx.events import SegmentReady
from gputx.units import duration, size
from gputx.workflows.hosts import Bench, DeliveryError
from gputx.workflows.jobs import Job
from gputx.workflows.story import OpenPhase, Story
from gputx.workflows.worker import Asked, LineStream, Worker, WorkerEndedError, segment_of
from gputx_remote.audio import Prepared

_TRIES = 2
_HINTS = {"model": "name another with --model", "engine": "leave --decoder and --compute-type away, or name others"}
_POLL_SECONDS = 0.2


@dataclass
class Loaded:
    """What the worker said of its model."""

    model: str | None = None
    revision: str | None = None
    device: str | None = None


@dataclass
class Transcription:
    """The work of one bench.

    ``finished`` is told of each job as soon as it is done, whether it failed or not.
    """

    bench: Bench
    jobs: Sequence[Job]
    asked: Asked
    story: Story
    finished: Callable[[Job], None]
    loaded: Loaded = field(default_factory=Loaded)
    delivered: dict[str, str] = field(default_factory=dict)
    """Where the bench has each job's audio: a second worker need not be sent it again."""
    about: str = ""
    """What the worker is, where there are several kinds of them; said while its model loads."""
    heard: Callable[[dict[str, Any]], None] = lambda _: None
    """Told of each event of each worker, before anything is made of it."""

    def run(self) -> Loaded:
        """Work until every job is done.

        Raises:
            InstanceLostError: the bench went away.
            ConfigurationError: the model can't be loaded there.
            GputxError: the worker can't be started or does not keep to the protocol.
        """
        for job in self.jobs:
            job.tries = 0
        while outstanding := [job for job in self.jobs if not job.done]:
            shift = _Shift(self, outstanding)
            try:
                shift.work()
            except WorkerEndedError as error:
                self.bench.check()
                self._bury(shift.current, error)
            except (InstanceLostError, InterruptedBySignal, ConfigurationError):
                raise
            except GputxError:
                # Whatever failed, that the instance is going is the better explanation.
                self.bench.check()
                raise
        return self.loaded

    def _bury(self, job: Job | None, error: WorkerEndedError) -> None:
        """Decide what a worker's death means for the file it was at."""
        if job is None:
            raise GputxError(f"{error.message} before it began a file", hint="--debug shows more") from error
        if job.tries < _TRIES:
            self.story.warn(f"{error.message}; {job.source.name} is tried once more in a new worker")
            return
        job.fail(f"{error.message} while transcribing it, twice")
        self.finished(job)


class _Shift:
    """One worker's life: a thread brings it audio, this one listens to it."""

    def __init__(self, task: Transcription, jobs: Sequence[Job]) -> None:
        self._task = task
        self._jobs = {job.id: job for job in jobs}
        self._over = threading.Event()
        self._courier_failure: Exception | None = None
        self._loading: OpenPhase | None = None
        self._writing: OpenPhase | None = None
        self.current: Job | None = None

    def work(self) -> None:
        self._loading = self._task.story.open("model", self._task.about)
        stream: LineStream | None = None
        try:
            stream = self._task.bench.start_worker()
            worker = Worker(stream)
            courier = threading.Thread(target=self._bring_audio, args=(worker, stream), name="courier")
            courier.start()
            try:
                for event in worker.events():
                    try:
                        self._task.heard(event)
                        self._hear(event)
                    except (KeyError, TypeError) as error:
                        raise GputxError(f"the worker said something unexpected: {event!r:.200}") from error
            finally:
                self._over.set()
                epitaph = "" if self._all_done else stream.epitaph()
                stream.close()
                courier.join()
        finally:
            for phase in (self._loading, self._writing):
                if phase is not None:
                    phase.close(ok=False)
        if self._courier_failure is not None:
            raise self._courier_failure
        if not self._all_done:
            raise WorkerEndedError(f"the worker ended ({epitaph})")

    @property
    def _all_done(self) -> bool:
        return all(job.done for job in self._jobs.values())

    def _bring_audio(self, worker: Worker, stream: LineStream) -> None:
        """Bring each recording over as soon as it is ready, and ask for it."""
        try:
            for job in self._jobs.values():
                path = self._brought(job)
                if self._over.is_set():
                    return
                if path is not None:
                    worker.transcribe(job.id, path, self._task.asked)
            worker.quit()
        except WorkerEndedError:
            return  # the listener sees its output end, and knows what it was doing
        except Exception as error:  # noqa: BLE001 - carried to the listener's thread, which raises it
            if not self._over.is_set():
                self._courier_failure = error
                stream.close()

    def _brought(self, job: Job) -> str | None:
        """Where the worker finds the job's audio; None where it can't be had, or nobody waits for it any more."""
        try:
            while not self._over.is_set():
                try:
                    return self._deliver(job, job.prepared.result(_POLL_SECONDS))
                except NotYet:
                    continue
        except AudioError as error:
            self._give_up(job, error)
        except DeliveryError as error:
            # An instance that is going kills the shell that stores a file a moment before it is gone itself.
            self._task.bench.check()
            self._give_up(job, error)
        return None

    def _give_up(self, job: Job, error: GputxError) -> None:
        job.fail(error.message)
        self._task.finished(job)

    def _deliver(self, job: Job, prepared: Prepared) -> str:
        delivered = self._task.delivered
        if job.id not in delivered:
            sending = Sending(self._task.story, job, self._over)
            try:
                delivered[job.id] = self._task.bench.deliver(prepared.path, progress=sending.progress)
            except BaseException:
                sending.close(ok=False)
                raise
            sending.close()
        return delivered[job.id]

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "model" and event["state"] == "ready":
            self._model_is_ready(event)
        elif kind == "note":
            self._task.story.note(event["text"])
        elif kind == "fatal" and event["kind"] in _HINTS:
            raise ConfigurationError(event["error"], hint=_HINTS[event["kind"]])
        elif kind == "fatal":
            raise GputxError(event["error"])
        elif kind in {"started", "progress", "segment", "finished", "failed"}:
            self._hear_of_job(kind, event, self._jobs[event["id"]])

    def _model_is_ready(self, event: dict[str, Any]) -> None:
        loaded = self._task.loaded
        loaded.model, loaded.revision, loaded.device = event["model"], event["revision"], event["device"]
        if self._loading is not None:
            self._loading.detail = f"{event['model']} on {event['device']}, {event['dtype']}"
            self._loading.close()

    def _hear_of_job(self, kind: str, event: dict[str, Any], job: Job) -> None:
        if kind == "started":
            again = self.current is job  # at another server
            self.current = job
            job.begin()
            if not again or self._writing is None:
                self._writing = self._task.story.open("transcribe", job.source.name)
        elif kind == "progress" and self._writing:
            self._writing.detail = _windows(event.get("windows"))
            self._writing.progress(event["done"], event["total"], "seconds")
        elif kind == "segment":
            segment = segment_of(event)
            job.segments.append(segment)
            self._task.story.emit(
                SegmentReady(
                    self._task.story.clock.time(),
                    job.source.name,
                    segment.start_ms,
                    segment.end_ms,
                    segment.text,
                )
            )
        elif kind in {"finished", "failed"}:
            self._close_job(kind, event, job)

    def _close_job(self, kind: str, event: dict[str, Any], job: Job) -> None:
        if kind == "finished":
            job.finish(
                language=event["language"],
                duration_ms=round(event["duration"] * 1000),
                processing_seconds=event["processing_time"],
                translated=self._task.asked.task == "translate",
            )
        else:
            job.fail(event["error"])
        if self._writing is not None:
            said = event["error"] if kind == "failed" else _heard(event)
            self._writing.detail = job.label + said
            self._writing.close(ok=kind == "finished")
        self.current = None
        self._task.finished(job)


class Sending:
    """The upload of one file as a phase, which begins with its first byte: on this machine nothing is sent."""

    def __init__(self, story: Story, job: Job, over: threading.Event) -> None:
        self._story = story
        self._job = job
        self._over = over
        self._phase: OpenPhase | None = None

    def progress(self, done: int, whole: int) -> None:
        """Raises WorkerEndedError where the worker has gone meanwhile: nobody waits for the file any more."""
        if self._over.is_set():
            raise WorkerEndedError("nobody waits for this file any more")
        if self._phase is None:
            self._phase = self._story.open("upload", self._job.source.name)
        self._phase.detail = f"{self._job.label}{size(whole)}"
        self._phase.progress(done, whole, "bytes")

    def close(self, *, ok: bool = True) -> None:
        if self._phase is not None:
            self._phase.close(ok=ok)


def _heard(event: dict[str, Any]) -> str:
    """``20 min 04 s, 41 windows, 2 decoded again``."""
    parts = [part for part in (duration(event["duration"]), _windows(event.get("windows"))) if part]
    if event.get("decoded_again"):
        parts.append(f"{event['decoded_again']} decoded again")
    if event.get("suspect"):
        parts.append(f"{event['suspect']} still doubtful")
    return ", ".join(parts)


def _windows(number: int | None) -> str:
    """A server does not tell how many."""
    if number is None:
        return ""
    return f"{number} window{'' if number == 1 else 's'}"
