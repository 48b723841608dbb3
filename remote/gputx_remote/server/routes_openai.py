"""``/v1``: what OpenAI's clients call, so that they work with nothing but another base address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server import openai_answers, wishes
from gputx_remote.server.asking import ERRORS, Asking, Here, Using, form, stream_of
from gputx_remote.server.auth import Person
from gputx_remote.server.errors import RefusedError, error_object
from gputx_remote.server.events import SILENCE, Stream, event, with_silence
from gputx_remote.server.intake import attended, check, outcome, take
from gputx_remote.server.job import Job
from gputx_remote.server.jobs import Jobs, SegmentReady
from gputx_remote.server.openai_answers import FORMATS, MEDIA_TYPES, STREAMED, Plain, Verbose
from gputx_remote.server.service import Rooms, Service
from gputx_remote.server.shapes import ModelCard, ModelList
from gputx_remote.server.wishes import Fields
from gputx_remote.transcript import Transcript

router = APIRouter(prefix="/v1", responses=ERRORS)

ALIAS = "whisper-1"
"""What programs ask for that know one name only: it stands for the model that is loaded."""
GRANULARITIES = ("segment", "word")
_LISTED = "timestamp_granularities[]"

_FIELDS: dict[str, dict[str, Any]] = {
    "model": {"type": "string"},
    "prompt": {"type": "string"},
    "response_format": {"type": "string", "enum": list(FORMATS)},
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    "stream": {"type": "boolean"},
}
_TRANSCRIPTION = _FIELDS | {
    "language": {"type": "string"},
    "timestamp_granularities[]": {"type": "array", "items": {"type": "string", "enum": list(GRANULARITIES)}},
    # Known and without effect: the server cuts at silences by itself, and gives no probabilities of single tokens.
    "chunking_strategy": {"type": "string"},
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "by `response_format`; with `stream` events",
        "content": {
            "application/json": {
                "schema": {"anyOf": [{"$ref": f"#/components/schemas/{shape.__name__}"} for shape in (Plain, Verbose)]}
            },
            **stream_of("message", "error"),
            **{name: {"schema": {"type": "string"}} for name in MEDIA_TYPES.values()},
        },
    }
}
DESCRIBED = (Plain, Verbose)
"""Shapes that the description refers to by name."""


@dataclass(frozen=True)
class _Wanted:
    """How the answer is to look."""

    format: str
    granularities: tuple[str, ...]
    stream: bool

    @classmethod
    def of(cls, fields: Fields) -> _Wanted:
        """Raises RefusedError for what can't be had together."""
        shape = wishes.word_of(fields, "response_format", FORMATS)
        granularities = tuple(fields.get(_LISTED, ()) or fields.get("timestamp_granularities", ()))
        for name in granularities:
            if name not in GRANULARITIES:
                raise RefusedError(400, "invalid_value", f"{_LISTED} can be segment and word", param=_LISTED)
        if granularities and shape != "verbose_json":
            raise RefusedError(400, "invalid_value", f"{_LISTED} needs response_format=verbose_json", param=_LISTED)
        streamed = wishes.flag(fields, "stream")
        if streamed and shape not in STREAMED:
            message = f"stream=true gives json and text, not {shape}: leave stream away, or response_format"
            raise RefusedError(400, "invalid_value", message, param="stream")
        return cls(shape, granularities or ("segment",), streamed)


@router.get("/models", response_model=ModelList)
async def models(service: Here, _person: Asking) -> ModelList:
    """The model that is loaded, and the name that stands for it."""
    return ModelList(data=[_card(service, name) for name in _names(service)])


@router.get("/models/{name:path}", response_model=ModelCard)
async def model(service: Here, _person: Asking, name: str) -> ModelCard:
    """One of them."""
    _checked_model(service, name)
    return _card(service, name)


@router.post(
    "/audio/transcriptions", response_class=Response, responses=_ANSWERS, openapi_extra=form("file", **_TRANSCRIPTION)
)
async def transcriptions(request: Request, service: Here, person: Using) -> Response:
    """A recording in, its text out, in the language that is spoken."""
    return await _answered(request, service, person, "transcribe")


@router.post("/audio/translations", response_class=Response, responses=_ANSWERS, openapi_extra=form("file", **_FIELDS))
async def translations(request: Request, service: Here, person: Using) -> Response:
    """A recording in, its text out, in English."""
    return await _answered(request, service, person, "translate")


async def _answered(request: Request, service: Service, person: Person, task: str) -> Response:
    wanted = _Wanted("json", (), stream=False)

    def wish(fields: Fields, rooms: Rooms) -> TranscribeOptions:
        nonlocal wanted
        wanted = _Wanted.of(fields)
        if (name := wishes.one(fields, "model")) is not None:
            _checked_model(service, name)
        words = "word" in wanted.granularities
        # OpenAI's detects the language where none is named.
        return wishes.options(fields, rooms.engine.vocabulary, wanted_task=task, words=words, default=None)

    with ExitStack() as held:
        held.enter_context(service.slot(person))
        job = await take(service, request, person, field="file", wish=wish, attached=True)
        jobs = service.loaded().jobs
        held.enter_context(attended(service, jobs, job))
        if wanted.stream:
            return Stream(_streamed(service, jobs, job), held.pop_all())
        transcript = (await outcome(request, jobs, job)).transcript()
        return _shaped(transcript, wanted)


def _shaped(transcript: Transcript, wanted: _Wanted) -> Response:
    if wanted.format == "json":
        return JSONResponse(openai_answers.plain(transcript).model_dump())
    if wanted.format == "verbose_json":
        return JSONResponse(openai_answers.verbose(transcript, wanted.granularities).model_dump())
    text = openai_answers.written(transcript, wanted.format)
    return Response(text, media_type=MEDIA_TYPES[wanted.format])


async def _streamed(service: Service, jobs: Jobs, job: Job) -> AsyncIterator[str]:
    """Segments as deltas, then the whole. What goes wrong on the way is an event, too: the status has been sent."""
    said = False
    async for item in with_silence(jobs.events(job), service.settings.limits.event_wait_seconds):
        if item is None:
            yield SILENCE
        elif isinstance(item, SegmentReady) and (text := item.segment.text.strip()):
            yield event(openai_answers.delta(text, first=not said))
            said = True
    try:
        yield event(openai_answers.done(check(job).transcript()))
    except RefusedError as error:
        service.metrics.refused(error.code)
        yield event(error_object(error.status, error.code, error.message), kind="error")
    yield "data: [DONE]\n\n"


def _names(service: Service) -> tuple[str, ...]:
    return tuple(dict.fromkeys((service.settings.model, ALIAS)))


def _checked_model(service: Service, name: str) -> None:
    if name not in _names(service):
        message = f"there is no model {name[:80]!r} here; there is {service.settings.model}"
        raise RefusedError(404, "model_not_found", message, param="model")


def _card(service: Service, name: str) -> ModelCard:
    return ModelCard(id=name, created=service.started, owned_by="gputx")
