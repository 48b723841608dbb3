"""From a request to a job: whose it is, whether there is room, the upload, the audio in it, the queue; in this order,
so that the cheap reason to refuse comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from fastapi import Request

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server import uploads
from gputx_remote.server.auth import Person
from gputx_remote.server.decoding import AudioRefusedError
from gputx_remote.server.errors import RESTART_SECONDS, RefusedError, retry_after
from gputx_remote.server.job import Job, State
from gputx_remote.server.jobs import KEY, DrainingError, Jobs, QueueFullError
from gputx_remote.server.service import Rooms, Service
from gputx_remote.server.wishes import Fields

Wish = Callable[[Fields, Rooms], TranscribeOptions]

_AUDIO_STATUS = {"too_long": 413, "too_heavy": 413, "no_space": 507, "unavailable": 503}
_AUDIO_CODE = {"no_space": "no_room", "unavailable": "decoder_unavailable"}
_FAILED_STATUS = {"audio": 400, "restarting": 503}


async def take(
    service: Service,
    request: Request,
    person: Person,
    *,
    field: str,
    wish: Wish,
    attached: bool,
    key: str | None = None,
) -> Job:
    """A job of what a request sends.

    Args:
        service: the server.
        request: whose body nobody has begun to read.
        person: whose it is.
        field: the form's field that is the recording.
        wish: the engine's options, from the form's other fields; it may refuse.
        attached: whether the request waits for the text.
        key: under which :meth:`Jobs.keyed` finds it again.

    Raises:
        RefusedError: for whatever reason it is not taken.
    """
    rooms = service.open()
    with _queue(service):
        rooms.jobs.room(person.owner)

    def look(fields: Fields) -> None:
        wish(fields, rooms)

    async with uploads.receive(request, service, rooms.jobs.incoming, field, look) as form:
        service.metrics.received(form.size)
        options = wish(form.fields, rooms)
        try:
            decoded = await service.unless_leaving(rooms.decoder.decode(form.file, person.owner))
        except AudioRefusedError as error:
            status = _AUDIO_STATUS.get(error.kind, 400)
            code = _AUDIO_CODE.get(error.kind, f"audio_{error.kind}")
            wait = retry_after(RESTART_SECONDS) if status == 503 else None
            raise RefusedError(status, code, str(error), param=field, headers=wait) from error
    try:
        # It may have been a while since the door was open.
        service.open()
        with _queue(service):
            extra = None if key is None else {KEY: key}
            job = rooms.jobs.submit(
                decoded.path, decoded.seconds, options, owner=person.owner, attached=attached, extra=extra
            )
    finally:
        # Gone where it was taken over.
        decoded.path.unlink(missing_ok=True)
    service.metrics.taken_on(decoded.seconds)
    return job


@contextmanager
def attended(service: Service, jobs: Jobs, job: Job) -> Iterator[None]:
    """A block that somebody waits in. However it is left, the job is over then, and nothing of it is kept."""
    try:
        yield
    finally:
        service.metrics.ended(job.state.value if job.state.ended else State.CANCELLED.value)
        jobs.forget(job.id)


async def outcome(request: Request, jobs: Jobs, job: Job) -> Job:
    """A job that is done, or the reason why it is not.

    Raises:
        RefusedError: it failed, or whoever asked has gone.
    """
    waiting = asyncio.ensure_future(jobs.wait(job))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise RefusedError(400, "client_gone", "the connection ended before the text was there")
        return check(waiting.result())
    finally:
        for task in (waiting, gone):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def check(job: Job) -> Job:
    """The same job, where it is done.

    Raises:
        RefusedError: it is not, and never will be.
    """
    if job.state is State.DONE:
        return job
    if job.failure is not None:
        status = _FAILED_STATUS.get(job.failure.code, 500)
        wait = retry_after(RESTART_SECONDS) if status == 503 else None
        raise RefusedError(status, job.failure.code, job.failure.message, headers=wait)
    raise RefusedError(409, "cancelled", "the job was cancelled")


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@contextmanager
def _queue(service: Service) -> Iterator[None]:
    """What the queue says when it takes nothing, as a refusal."""
    try:
        yield
    except QueueFullError as error:
        whose = "this token's share of the queue is" if error.own else "the queue is"
        message = f"{whose} full; there should be room in {error.retry_after} s"
        raise RefusedError(429, "queue_full", message, headers=retry_after(error.retry_after)) from error
    except DrainingError as error:
        wait = retry_after(service.settings.drain_seconds)
        message = "the server is about to end and takes nothing new; try later"
        raise RefusedError(503, "draining", message, headers=wait) from error
    except OSError as error:
        raise RefusedError(507, "no_room", "no room on the server's disk for this; try later") from error
