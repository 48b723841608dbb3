"""The jobs there are, looked up, counted and watched."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

from gputx_remote.server import watching
from gputx_remote.server.job import Job, State
from gputx_remote.server.queue import NoSuchJobError
from gputx_remote.server.watching import Event

KEY = "key"
"""In an order's ``extra``: the ``Idempotency-Key`` it came with."""


class KnownJobs:
    """Jobs by their ids. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, Job] = {}
        self._stopping: dict[str, State] = {}
        """Running jobs that are to stop, and what they are to be then."""

    @property
    def queued_seconds(self) -> float:
        """Audio still to be transcribed, that of running jobs included."""
        with self._changed:
            return sum(job.left_seconds for job in self._jobs.values())

    @property
    def waiting(self) -> int:
        """Jobs not begun."""
        with self._changed:
            return sum(job.state is State.QUEUED for job in self._jobs.values())

    @property
    def running(self) -> int:
        """Jobs in work."""
        with self._changed:
            return len(self._running)

    def get(self, number: str, owner: str | None = None) -> Job:
        """A job by its id.

        Args:
            number: the id.
            owner: whose it has to be; None for anybody's.

        Raises:
            NoSuchJobError: there is none for this owner.
        """
        with self._changed:
            job = self._jobs.get(number)
        if job is None or owner not in {None, job.order.owner}:
            raise NoSuchJobError
        return job

    def keyed(self, owner: str, key: str) -> Job | None:
        """An owner's job that was submitted under this key; None where there is none, or it has failed or been
        cancelled, so that it may be made again."""
        with self._changed:
            for job in self._jobs.values():
                state = self._stopping.get(job.id, job.state)
                over = state in (State.FAILED, State.CANCELLED)
                if (job.order.owner, job.order.extra.get(KEY), over) == (owner, key, False):
                    return job
        return None

    def list(self, owner: str | None = None) -> list[Job]:
        """An owner's jobs, or everybody's, the newest first."""
        with self._changed:
            found = [job for job in self._jobs.values() if owner in {None, job.order.owner}]
        return sorted(found, key=lambda job: (job.order.number, job.order.created), reverse=True)

    def events(self, job: Job) -> AsyncIterator[Event]:
        """See :func:`gputx_remote.server.watching.events`."""
        return watching.events(job)

    async def wait(self, job: Job) -> Job:
        """The job, once it has ended."""
        return await watching.until_ended(job)
