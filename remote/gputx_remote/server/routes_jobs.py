"""``/jobs``: what was asked for with ``?async=1``, watched, fetched and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from gputx_remote import writers
from gputx_remote.server.asking import ERRORS, Asking, Here, Using, stream_of
from gputx_remote.server.auth import Person
from gputx_remote.server.errors import RefusedError
from gputx_remote.server.events import SILENCE, Stream, event, with_silence
from gputx_remote.server.job import Job, State
from gputx_remote.server.jobs import Jobs, NoSuchJobError, Progressed, SegmentReady
from gputx_remote.server.service import Service
from gputx_remote.server.shapes import JobList, JobShape, Queue, SegmentShape

router = APIRouter(prefix="/jobs", responses=ERRORS)


class Format(StrEnum):
    """What a text can be fetched as: :data:`gputx_remote.writers.FORMATS`."""

    txt = "txt"
    srt = "srt"
    vtt = "vtt"
    ttml = "ttml"
    tsv = "tsv"
    json = "json"
    html = "html"


Id = Annotated[str, Path(alias="id", max_length=64, description="the job's id")]

CANCEL_SECONDS = 10.0
"""How long an answer waits for a job to end that was cancelled."""

_MEDIA_TYPES = {
    "txt": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "ttml": "application/ttml+xml",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "html": "text/html",
}


@router.get("", response_model=JobList)
async def listed(service: Here, person: Asking, limit: Annotated[int, Query(ge=0, le=1000)] = 100) -> JobList:
    """Your jobs, newest first, and how long the queue is."""
    rooms = service.loaded()
    jobs = rooms.jobs
    own = [job for job in jobs.list(person.owner) if not job.order.attached]
    queue = Queue(
        seconds=jobs.queued_seconds, limit_seconds=rooms.limits.queue_seconds, rate=jobs.rate, draining=service.draining
    )
    return JobList(jobs=[await service.shape(job) for job in own[:limit]], queue=queue)


@router.get("/{id}", response_model=JobShape)
async def one(service: Here, person: Using, number: Id) -> JobShape:
    """One job."""
    return await service.shape(_job(service, person, number)[1])


@router.delete("/{id}", response_model=JobShape)
async def cancelled(service: Here, person: Using, number: Id) -> JobShape:
    """Cancel a job that has not ended; take away the text of one that has."""
    jobs, job = _job(service, person, number)
    if job.state.ended:
        shape = await service.shape(job)
        jobs.forget(job.id)
        return shape
    jobs.cancel(job.id)
    # The model finishes the batch it is at, so the end comes a moment later.
    with suppress(TimeoutError):
        await asyncio.wait_for(jobs.wait(job), CANCEL_SECONDS)
    return await service.shape(job)


@router.get(
    "/{id}/result",
    response_class=Response,
    responses={200: {"content": {name: {"schema": {"type": "string"}} for name in _MEDIA_TYPES.values()}}},
)
async def result(
    service: Here,
    person: Using,
    number: Id,
    form: Annotated[Format, Query(alias="format")] = Format.txt,
) -> Response:
    """The text of a job that is done, as a file."""
    _, job = _job(service, person, number)
    if job.state is not State.DONE:
        raise RefusedError(409, "not_done", f"the job is {job.state.value}: there is no text to fetch")
    text = writers.render(job.transcript(), form.value)
    # Not inline: a page of somebody's words is no page of this server's.
    headers = {
        "Content-Disposition": f'attachment; filename="transcript.{form.value}"',
        "Cache-Control": "no-store",
    }
    return Response(text, media_type=_MEDIA_TYPES[form.value], headers=headers)


@router.get(
    "/{id}/events",
    response_class=Response,
    responses={200: {"content": stream_of("progress", "segment", "end")}},
)
async def events(
    service: Here,
    person: Using,
    number: Id,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=20)] = None,
) -> Response:
    """Progress and segments as they come, from the first on, and the job as the last event."""
    jobs, job = _job(service, person, number)
    behind = int(last) if last is not None and last.isascii() and last.isdigit() else -1
    with ExitStack() as held:
        held.enter_context(service.slot(person))
        return Stream(_told(service, jobs, job, behind), held.pop_all())


async def _told(service: Service, jobs: Jobs, job: Job, behind: int) -> AsyncIterator[str]:
    async for item in with_silence(jobs.events(job), service.settings.limits.event_wait_seconds):
        if item is None:
            yield SILENCE
        elif isinstance(item, SegmentReady):
            if item.index > behind:
                shape = SegmentShape.of(item.index, item.segment)
                yield event(shape.model_dump(), kind="segment", number=item.index)
        elif isinstance(item, Progressed):
            yield event(_progress(item), kind="progress")
        else:
            yield event((await service.shape(item.job)).model_dump(), kind="end")


def _progress(item: Progressed) -> dict[str, Any]:
    share = item.done_seconds / item.seconds if item.seconds else 0.0
    return {
        "state": item.state.value,
        "progress": min(1.0, share),
        "done": round(item.done_seconds, 3),
        "total": round(item.seconds, 3),
    }


def _job(service: Service, person: Person, number: str) -> tuple[Jobs, Job]:
    jobs = service.loaded().jobs
    try:
        return jobs, jobs.get(number, person.owner)
    except NoSuchJobError as error:
        raise RefusedError(
            404, "no_such_job", "there is no such job, or no longer: texts are kept for a while only"
        ) from error
