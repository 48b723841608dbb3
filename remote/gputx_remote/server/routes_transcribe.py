"""``POST /transcribe``: a recording in, its text out, or a job to come back for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server import uploads, wishes
from gputx_remote.server.asking import ERRORS, Here, Using, form
from gputx_remote.server.intake import attended, outcome, take
from gputx_remote.server.job import Job
from gputx_remote.server.once import MAX_LENGTH
from gputx_remote.server.service import Rooms
from gputx_remote.server.shapes import JobShape, Transcribed
from gputx_remote.server.wishes import Fields

router = APIRouter(responses=ERRORS)

FIELDS = ("language", "task", "prompt", "hotwords", "temperature", "word_timestamps")
_KEY = "with `async`: of your own making, new for each recording; sent again with it, a recording is the same job"
_TASKS = ("transcribe", "translate")

_FORM = form(
    "audio",
    language={"type": "string", "examples": ["sv", "auto"]},
    task={"type": "string", "enum": list(_TASKS)},
    prompt={"type": "string"},
    hotwords={"type": "string"},
    temperature={"type": "number", "minimum": 0, "maximum": 1},
    word_timestamps={"type": "boolean"},
)


@router.post(
    "/transcribe",
    response_model=Transcribed,
    responses={
        202: {
            "model": JobShape,
            "description": "with `?async=1`: taken on",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "the job's address"}},
        }
    },
    openapi_extra=_FORM,
)
async def transcribe(
    request: Request,
    service: Here,
    person: Using,
    later: Annotated[bool, Query(alias="async", description="answer 202 once the audio is here, with a job")] = False,
    key: Annotated[
        str | None, Header(alias="Idempotency-Key", min_length=1, max_length=MAX_LENGTH, description=_KEY)
    ] = None,
) -> Response:
    """Turn a recording into text. Without `async` the connection waits for it; going away cancels."""

    def wish(fields: Fields, rooms: Rooms) -> TranscribeOptions:
        wishes.known(fields, FIELDS)
        return wishes.options(
            fields,
            rooms.engine.vocabulary,
            wanted_task=wishes.word_of(fields, "task", _TASKS),
            words=wishes.flag(fields, "word_timestamps"),
            default=service.settings.language,
        )

    async def taken() -> Job:
        return await take(
            service, request, person, field="audio", wish=wish, attached=not later, key=key if later else None
        )

    with service.slot(person):
        if later and key is not None:
            job, made = await service.once.job(service.loaded().jobs, person.owner, key, taken)
            if not made:
                await uploads.discard(request, service.settings.limits)
        else:
            job, made = await taken(), True
        if later:
            if made and service.results is not None:
                service.results.follow(service.loaded().jobs, job)
            shape = await service.shape(job)
            return JSONResponse(shape.model_dump(), 202, {"Location": shape.url})
        jobs = service.loaded().jobs
        with attended(service, jobs, job):
            done = await outcome(request, jobs, job)
            transcript = done.transcript()
            answer = Transcribed(
                transcription=transcript.text,
                duration=round(transcript.duration_ms / 1000, 3),
                language=transcript.language,
                model=service.settings.model,
                processing_time=round(done.outcome.processing_seconds, 3),
                gpu_memory_used=service.memory.gpu_said(),
            )
            return JSONResponse(answer.model_dump())
