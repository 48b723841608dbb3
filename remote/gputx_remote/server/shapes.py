"""The answers, field by field: what /docs and /openapi.json describe, and what is checked on the way out.

Times are seconds from the start of the recording, moments seconds since 1970.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gputx_remote.server.errors import error_object
from gputx_remote.server.job import Job
from gputx_remote.transcript import Segment
from gputx_remote.writers import FORMATS


class Shape(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Fault(Shape):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(Shape):
    """The body of every answer that is an error."""

    error: Fault


HealthStatus = Literal["healthy", "loading", "draining", "failing"]


class Health(Shape):
    """How the server is."""

    status: HealthStatus
    gpu_available: bool
    model_loaded: bool
    memory_usage: str = Field(examples=["2.3GB/16GB"])


class Transcribed(Shape):
    """A recording as text."""

    transcription: str
    duration: float
    language: str = Field(examples=["sv"])
    model: str
    processing_time: float
    gpu_memory_used: str = Field(examples=["3.1GB"])


class WordShape(Shape):
    """A word, and when it was spoken."""

    word: str
    start: float
    end: float
    probability: float


class SegmentShape(Shape):
    """A timed piece of text."""

    id: int
    start: float
    end: float
    text: str
    confidence: float | None
    suspect: bool
    words: list[WordShape] | None

    @classmethod
    def of(cls, index: int, segment: Segment) -> SegmentShape:
        return cls(
            id=index,
            start=segment.start_ms / 1000,
            end=segment.end_ms / 1000,
            text=segment.text,
            confidence=segment.confidence,
            suspect=segment.suspect,
            words=[
                WordShape(
                    word=word.text, start=word.start_ms / 1000, end=word.end_ms / 1000, probability=word.probability
                )
                for word in segment.words
            ]
            or None,
        )


class JobShape(Shape):
    """A job, and where to go on from it."""

    id: str
    url: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    created: float
    started: float | None
    ended: float | None
    duration: float
    progress: float = Field(ge=0, le=1)
    language: str | None
    model: str
    processing_time: float | None
    error: Fault | None
    events_url: str
    results: dict[str, str]
    stored: dict[str, str]

    @classmethod
    def of(cls, job: Job, model: str, stored: dict[str, str]) -> JobShape:
        url = f"/jobs/{job.id}"
        done = job.state == "done"
        return cls(
            id=job.id,
            url=url,
            state=job.state.value,
            created=job.order.created,
            started=job.started,
            ended=job.ended,
            duration=job.duration_ms / 1000,
            progress=job.progress,
            language=job.language or None,
            model=model,
            processing_time=round(job.outcome.processing_seconds, 3) if done else None,
            error=Fault(**_fault(job)) if job.failure else None,
            events_url=f"{url}/events",
            results={name: f"{url}/result?format={name}" for name in FORMATS} if done else {},
            stored=stored if done else {},
        )


def _fault(job: Job) -> dict[str, Any]:
    assert job.failure is not None  # noqa: S101 - asked before
    fault: dict[str, Any] = error_object(500, job.failure.code, job.failure.message)["error"]
    return fault


class Queue(Shape):
    """How much there is to do before a new job's turn: what several servers are balanced by."""

    seconds: float
    limit_seconds: float
    rate: float
    draining: bool


class JobList(Shape):
    """The jobs of one token, newest first."""

    jobs: list[JobShape]
    queue: Queue


class ModelCard(Shape):
    """A model, as OpenAI's clients know one."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(Shape):
    """All there are."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
