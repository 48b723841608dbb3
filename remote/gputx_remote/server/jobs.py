"""Jobs: taken on, transcribed side by side, watched, cancelled, and kept over a restart of the process."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server.ends import Ends
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.job import Failure, Job, Order, State
from gputx_remote.server.known import KEY, KnownJobs
from gputx_remote.server.limits import Limits
from gputx_remote.server.queue import (
    MOST_DEATHS,
    DrainingError,
    NoSuchJobError,
    QueueFullError,
    check_room,
    next_of,
    outlived,
)
from gputx_remote.server.rate import Rate
from gputx_remote.server.running import Running
from gputx_remote.server.shared import CancelledError
from gputx_remote.server.store import Store
from gputx_remote.server.watching import Ended, Event, Progressed, SegmentReady

__all__ = [
    "KEY",
    "DrainingError",
    "Ended",
    "Event",
    "Jobs",
    "NoSuchJobError",
    "Progressed",
    "QueueFullError",
    "SegmentReady",
]

DEADLY = Failure("engine", f"the server ended {MOST_DEATHS} times in a row amid it; it is given up")
RESTARTING = Failure("restarting", "the server was restarted before it was done; ask again")
_HOUSEKEEPING_SECONDS = 30.0
_FAREWELL_SECONDS = 5.0

log = logging.getLogger("gputx.server")


class Jobs(KnownJobs):
    """All jobs of a server. Thread-safe; all but ``drain`` and ``close`` return at once."""

    def __init__(
        self,
        engine: SharedEngine,
        state: Path,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes up what an earlier process has left in ``state``.

        Args:
            engine: transcribes; stays the caller's to close, after this.
            state: a directory of its own.
            limits: how much at once, and how long ended jobs are kept.
            clock: seconds since 1970.
        """
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._store = Store(state)
        super().__init__()
        self._rate = Rate(time.monotonic)
        self._draining = False
        self._closed = False
        with self._changed:
            self._jobs = {job.id: job for job in self._store.load()}
            self._ends = Ends(self._store, clock, self._jobs.values())
            self._take_up()
            self.sweep()
            self._begin()
        threading.Thread(target=self._keep_house, name="housekeeping", daemon=True).start()

    @property
    def incoming(self) -> Path:
        """Where uploads and decoded audio are put: emptied at the start, on the file system of the jobs."""
        return self._store.incoming

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def rate(self) -> float:
        """Seconds of audio transcribed per second, measured over the last minutes of work."""
        with self._changed:
            return self._rate.value

    def room(self, owner: str, seconds: float = 0.0) -> None:
        """Whether a job would be taken; worth asking before an upload is read.

        Raises:
            DrainingError: the server is about to end.
            QueueFullError: there is no room for so much audio now.
        """
        with self._changed:
            if self._draining:
                raise DrainingError
            check_room([*self._jobs.values()], self._limits, self._rate, owner=owner, seconds=seconds)

    def submit(
        self,
        audio: Path,
        seconds: float,
        options: TranscribeOptions,
        *,
        owner: str = "",
        name: str = "",
        attached: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> Job:
        """Take a job on. Once this returns, it outlives the process, unless it is ``attached``.

        Args:
            audio: what :class:`AudioDecoder` wrote into ``incoming``; it is taken over.
            seconds: of audio in it.
            options: how to transcribe.
            owner: a digest of the token.
            name: what the client calls it, for people to read.
            attached: a connection waits for the answer.
            extra: kept with it, as JSON.

        Raises:
            DrainingError, QueueFullError: as :meth:`room`; the audio stays where it is.
            OSError: the disk is full, for instance; likewise.
        """
        with self._changed:
            self.room(owner, seconds)
            order = Order(
                secrets.token_urlsafe(16),
                owner,
                options,
                seconds,
                self._clock(),
                next(self._ends.numbers),
                name,
                attached,
                dict(extra or {}),
            )
            job = Job(order)
            self._store.add(job, audio)
            self._jobs[job.id] = job
            self._begin()
            return job

    def cancel(self, number: str) -> None:
        """Stop a job; one that has ended is forgotten, text and all.

        Raises:
            NoSuchJobError: there is none.
        """
        with self._changed:
            job = self.get(number)
            if job.state.ended:
                self._forget(job)
            else:
                self._stop(job, State.CANCELLED)

    def forget(self, number: str) -> None:
        """Stop a job where it runs, and keep nothing of it. Nothing happens where it is gone already."""
        with self._changed:
            job = self._jobs.get(number)
            if job is None:
                return
            if not job.state.ended:
                self._stop(job, State.CANCELLED)
            self._forget(job)

    def sweep(self) -> None:
        """Forget ended jobs whose time is over, and the oldest where there are too many."""
        with self._changed:
            now = self._clock()
            for job in self._jobs.values():
                job.ended = job.ended and min(job.ended, now)  # the clock may have been ahead
            for job in outlived([*self._jobs.values()], self._limits, now):
                self._forget(job)
            self._ends.write_again(self._jobs)

    def stored(self, job: Job, folder: str) -> None:
        """Note where the text of a job is, too, for the next process as well.

        Raises:
            OSError: it can't be noted.
        """
        with self._changed:
            if job.id in self._jobs:
                job.stored = folder
                self._store.stored(job)

    def drain(self, seconds: float) -> None:
        """Take nothing new; let what runs, and what a connection waits for, end; stop the rest after ``seconds`` and
        leave it on disk, with the windows that are done, for the next process. Returns when nothing runs."""
        until = time.monotonic() + seconds
        with self._changed:
            self._draining = True
            self._changed.wait_for(lambda: not self._wanted(), timeout=max(0.0, until - time.monotonic()))
            for job in self._wanted():
                # What is not attached is queued again: it goes on in the next process.
                self._stop(job, State.FAILED if job.order.attached else State.QUEUED)
            self._changed.wait_for(lambda: not self._running, timeout=_FAREWELL_SECONDS)

    def close(self) -> None:
        """Drain without patience."""
        self.drain(0.0)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wanted(self) -> Sequence[Job]:
        """Jobs a drain waits for."""
        return [j for j in self._jobs.values() if j.id in self._running or (j.order.attached and not j.state.ended)]

    def _take_up(self) -> None:
        """What an earlier process has left; the lock is held."""
        for job in [*self._jobs.values()]:
            # By the clock, which may have been set since: who came later than now has come now.
            job.since -= max(0.0, self._clock() - job.order.created)
            if job.order.attached and job.state.ended:
                self._forget(job)  # it was answered, or its client has gone
            elif job.order.attached:
                self._end(job, State.FAILED)
            elif job.deaths >= MOST_DEATHS:
                job.state = State.FAILED
                self._ends.note(job, State.FAILED, DEADLY)

    def _begin(self) -> None:
        """Start whatever may run now; the lock is held."""
        while (job := self._next()) is not None:
            job.state = State.RUNNING
            job.started = job.started or self._clock()
            self._rate.begin()
            self._running[job.id] = job
            threading.Thread(target=self._run, args=(job,), name="job", daemon=True).start()
            job.changed()

    def _next(self) -> Job | None:
        if self._closed or self._engine.broken:
            return None
        waiting = [
            j for j in self._jobs.values() if j.state is State.QUEUED and (j.order.attached or not self._draining)
        ]
        return next_of(waiting, [*self._running.values()], self._limits, self._rate)

    def _run(self, job: Job) -> None:
        """A job's thread."""
        running = Running(self._engine, self._store, job, self._moved)
        state: State | None = None
        try:
            failure = running.run(lambda: job.id in self._stopping)
            state = State.FAILED if failure else State.DONE
            # Without the lock: the disk may be slow. As long as it is running nobody else touches its files.
            self._ends.note(job, state, failure)
        except CancelledError:
            pass
        with self._changed:
            self._rate.end()
            del self._running[job.id]
            # The engine itself gives a job up where it is closed, or broken: as a drain would.
            stopped = self._stopping.pop(job.id, State.FAILED if job.order.attached else State.QUEUED)
            if job.id not in self._jobs:  # forgotten meanwhile
                self._ends.forget(job)
                self._store.remove(job)
                job.state = State.CANCELLED
                job.changed()
            elif state is None:
                if not self._engine.broken:
                    self._store.put_down(job)
                self._end(job, stopped)
            else:
                job.state = state
                job.changed()
            self._begin()
            self._changed.notify_all()

    def _end(self, job: Job, state: State) -> None:
        """Note what a job that was stopped is now; the lock is held."""
        if state.ended:
            self._ends.note(job, state, RESTARTING if state is State.FAILED else None)
        job.state = state
        job.changed()

    def _stop(self, job: Job, state: State) -> None:
        """Stop a job that has not ended; the lock is held."""
        if job.id in self._running:
            # A client's word stands, whatever a drain has said: the job may not live again in the next process.
            if state is State.CANCELLED or job.id not in self._stopping:
                self._stopping[job.id] = state
            self._engine.wake()
        else:
            self._end(job, state)
            self._changed.notify_all()

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        self._ends.forget(job)
        if job.id not in self._running:
            self._store.remove(job)

    def _moved(self, seconds: float) -> None:
        with self._changed:
            self._rate.done(seconds)

    def _keep_house(self) -> None:
        with self._changed:
            while not self._closed:
                self._changed.wait(timeout=_HOUSEKEEPING_SECONDS)
                self.sweep()
