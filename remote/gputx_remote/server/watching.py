"""A job as it goes on, seen from the event loop.

Events are drawn from the job itself and never queued: whoever reads slowly gets several segments at once and costs no
memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from gputx_remote.server.job import Job, State
from gputx_remote.transcript import Segment


@dataclass(frozen=True)
class SegmentReady:
    """One more segment."""

    index: int
    """From 0, without gaps."""
    segment: Segment


@dataclass(frozen=True)
class Progressed:
    """The job was begun, or has come further."""

    state: State
    done_seconds: float
    seconds: float
    """Of audio in all."""


@dataclass(frozen=True)
class Ended:
    """The last event."""

    job: Job


Event = SegmentReady | Progressed | Ended


async def events(job: Job) -> AsyncIterator[Event]:
    """All segments from the first on as they come, progress where there is some, and last :class:`Ended`."""
    index, before = 0, None
    with _watched(job) as changed:
        while True:
            changed.clear()
            # The end is looked for first, so that no segment comes behind it.
            ended, now = job.state.ended, Progressed(job.state, job.done_seconds, job.order.seconds)
            while index < len(job.segments):
                yield SegmentReady(index, job.segments[index])
                index += 1
            if ended:
                yield Ended(job)
                return
            if now != before:
                yield now
                before = now
            await changed.wait()


async def until_ended(job: Job) -> Job:
    """The job, once it has ended."""
    with _watched(job) as changed:
        while not job.state.ended:
            await changed.wait()
            changed.clear()
    return job


@contextmanager
def _watched(job: Job) -> Iterator[asyncio.Event]:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop was closed while somebody still watched
            loop.call_soon_threadsafe(changed.set)

    end = job.watch(tell)
    try:
        yield changed
    finally:
        end()
