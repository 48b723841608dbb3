"""Who is taken on, and whose turn it is next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gputx_remote.server.job import Job

if TYPE_CHECKING:
    from gputx_remote.server.limits import Limits
    from gputx_remote.server.rate import Rate

LONG = 300.0
"""Seconds of audio from which on a job is long."""
MOST_DEATHS = 3
"""Processes in a row that may end amid the same window of a job: then it is given up."""
FOR_LONG = 3 / 4
"""Share of the places to run that long jobs may have: the rest is for those that came for a moment."""


class DrainingError(Exception):
    """The server is about to end and takes nothing new (HTTP 503)."""


class NoSuchJobError(Exception):
    """It never was, is somebody else's, or has been forgotten (HTTP 404)."""


class QueueFullError(Exception):
    """There is no room in the queue (HTTP 429)."""

    def __init__(self, retry_after: int, *, own: bool) -> None:
        """
        Args:
            retry_after: seconds until there should be, by the measured rate.
            own: whether it is this token's own share that is used up.
        """
        super().__init__(f"the queue is full; there should be room in {retry_after} s")
        self.retry_after = retry_after
        self.own = own


def check_room(jobs: Sequence[Job], limits: Limits, rate: Rate, *, owner: str, seconds: float) -> None:
    """Whether so much more audio of this owner fits beside the jobs there are.

    Raises:
        QueueFullError: it does not. What is longer than the queue fits only where nothing else is in it.
    """
    everything = sum(job.left_seconds for job in jobs)
    mine = sum(job.left_seconds for job in jobs if job.order.owner == owner)
    for own, queued, most in ((True, mine, limits.owner_seconds), (False, everything, limits.queue_seconds)):
        if queued and queued + seconds >= most:
            raise QueueFullError(rate.until(min(queued, queued + seconds - most)), own=own)


def next_of(waiting: Sequence[Job], running: Sequence[Job], limits: Limits, rate: Rate) -> Job | None:
    """The job to begin now: in the order they would end in if each had the model to itself, so that a short one goes
    before a long one, and none waits for ever. None where there is no place or nobody for it."""
    if len(running) >= limits.running:
        return None
    if sum(map(_is_long, running)) >= max(1, math.floor(limits.running * FOR_LONG)):
        waiting = [job for job in waiting if not _is_long(job)]
    first = min(waiting, key=lambda job: job.since + job.left_seconds / rate.value, default=None)
    # Of those that were under way when a process died, one may have been why: each is tried once more by itself, so
    # that no other is taken for it.
    if running and (any(map(_is_doubtful, running)) or (first is not None and _is_doubtful(first))):
        return None
    return first


def outlived(jobs: Sequence[Job], limits: Limits, now: float) -> list[Job]:
    """Ended jobs to forget: those whose time is over, and the oldest where there are too many."""
    ended = sorted((job for job in jobs if job.state.ended), key=lambda job: (job.place, job.ended or 0.0))
    beyond, old = len(ended) - limits.kept, now - limits.keep_seconds
    return [job for place, job in enumerate(ended) if place < beyond or (job.ended or 0.0) <= old]


def _is_doubtful(job: Job) -> bool:
    return job.deaths == MOST_DEATHS - 1


def _is_long(job: Job) -> bool:
    return job.order.seconds > LONG
