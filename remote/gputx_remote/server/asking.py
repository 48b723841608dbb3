"""What every route wants to know first: which server this is, and who is asking."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gputx_remote.server.auth import Person
from gputx_remote.server.service import Service
from gputx_remote.server.shapes import ErrorAnswer

_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="the server's token: `gputx api token`")

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "refused; `error.message` says what to do"},
    "5XX": {"model": ErrorAnswer, "description": "the server can't now, or is at fault"},
}
"""For the description of every route: what may come instead of an answer."""


async def service_of(request: Request) -> Service:
    """The server a request came to."""
    service = request.app.state.service
    assert isinstance(service, Service)  # noqa: S101 - create_app put it there
    return service


async def person_of(
    request: Request, _scheme: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None
) -> Person:
    """Who sends a request. It has been told from the header before a byte of the body is read.

    Raises:
        RefusedError: 401, nobody we know.
    """
    service = await service_of(request)
    person = service.tokens.authorized(request.headers.get("authorization"))
    request.state.person = person.name
    return person


async def user_of(service: Annotated[Service, Depends(service_of)], person: Asking) -> Person:
    """As :func:`person_of`, of a request that is work, or is about somebody's work: it keeps the server from idling.

    To look at the server is no use of it: a list that is watched, or metrics that are scraped, would keep an instance
    up for ever.
    """
    service.touch()
    return person


Here = Annotated[Service, Depends(service_of)]
Asking = Annotated[Person, Depends(person_of)]
Using = Annotated[Person, Depends(user_of)]


def form(file: str, **fields: dict[str, Any]) -> dict[str, Any]:
    """How a multipart form is described, for ``openapi_extra``: the body is parsed by hand as it comes.

    Args:
        file: the field that is the recording.
        fields: JSON schemas of the others.
    """
    properties: dict[str, Any] = {file: {"type": "string", "format": "binary"}, **fields}
    schema = {"type": "object", "properties": properties, "required": [file], "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def stream_of(*kinds: str) -> dict[str, Any]:
    """How a stream of events is described: what one of them is. The data of each is JSON, or ``[DONE]``.

    Args:
        kinds: the names events may have.
    """
    properties = {
        "event": {"type": "string", "enum": list(kinds)},
        "id": {"type": "string"},
        "data": {"type": "string"},
    }
    return {"text/event-stream": {"schema": {"type": "object", "properties": properties}}}
