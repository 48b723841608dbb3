"""What a request may be refused for, and how that is said: one object, in the shape OpenAI's clients read.

``{"error": {"message", "type", "param", "code"}}``: https://platform.openai.com/docs/guides/error-codes. The same
object is used on every route. No message names a path of this machine, an exception's class or a line of code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

RESTART_SECONDS = 5.0
"""When to ask a server again that is about to start anew."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class RefusedError(Exception):
    """A request that is not served. ``message`` is one line: what is wrong, and what to do about it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            status: HTTP status, 400 to 599.
            code: a short name that programs may compare; docs/server.md lists them.
            message: for people.
            param: the field of the request that is meant.
            headers: to go with the answer, such as Retry-After.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})


def retry_after(seconds: float) -> dict[str, str]:
    """The header for "come back in so many seconds": whole ones, 1 at least (RFC 9110, 10.2.3)."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def error_object(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """The body of an answer that is an error."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def answer(refusal: RefusedError) -> JSONResponse:
    """A refusal as an answer."""
    body = error_object(refusal.status, refusal.code, refusal.message, refusal.param)
    return JSONResponse(body, refusal.status, refusal.headers)


def install(app: FastAPI) -> None:
    """Have a request that is refused answered with an error object; faults of ours are the frame's."""
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def _counted(request: Request, refusal: RefusedError) -> JSONResponse:
    request.app.state.service.metrics.refused(refusal.code)
    return answer(refusal)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)  # noqa: S101 - what it was registered for
    return _counted(request, error)


_HTTP = {
    404: ("not_found", "there is nothing at this address; /docs lists what there is"),
    405: ("method_not_allowed", "this address does not take that method; /docs says which it takes"),
}


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it was registered for
    code, message = _HTTP.get(error.status_code, ("bad_request", "the request can't be read"))
    return _counted(request, RefusedError(error.status_code, code, message, headers=error.headers))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it was registered for
    first = error.errors()[0]
    # The place and the reason, never the value: it may be a token or somebody's words.
    where = ".".join(str(part) for part in first["loc"][1:]) or None
    refusal = RefusedError(400, "invalid_value", f"{where or 'the request'}: {first['msg']}", param=where)
    return _counted(request, refusal)
