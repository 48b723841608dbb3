"""Round every request: a number for it, security headers on the answer, one line in the log, and nothing that goes
wrong inside reaches the other side but as an error object."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gputx_remote.server.errors import RESTART_SECONDS, RefusedError, answer, retry_after
from gputx_remote.server.logs import log
from gputx_remote.server.metrics import Metrics

HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Permissions-Policy": "microphone=(), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""On every answer that has not its own. There is no CORS header: no other origin may read anything."""

HSTS = "max-age=31536000"


class Frame:
    """The outermost part of the app that is ours."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number = secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = number
        started = time.monotonic()
        status = 0
        unread = _has_body(scope)

        async def heard() -> Message:
            nonlocal unread
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                unread = False
            return message

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add(message, {**HEADERS, "X-Request-Id": number})
                if unread:
                    # Nobody will read the rest, so nothing can come behind it.
                    _add(message, {"Connection": "close"})
                if scope["scheme"] == "https":
                    _add(message, {"Strict-Transport-Security": HSTS})
            await send(message)

        try:
            await self._app(scope, heard, framed)
        except asyncio.CancelledError:
            # The server's time is up (uvicorn ends what is under way), or the client has gone, who will not mind.
            if not status:
                await _late(framed)
            raise
        except Exception as error:
            log.error("unexpected", exc_info=error, extra={"request": number})
            if not status:
                await _sorry(framed, number)
            else:
                # The answer was cut short: only a connection that breaks says so.
                raise
        finally:
            seconds = time.monotonic() - started
            route = _route(scope)
            self._metrics.answered(route, _method(scope), status, seconds)
            log.info(
                "request",
                extra={
                    "request": number,
                    "method": _method(scope),
                    "route": route,
                    "status": status,
                    "seconds": round(seconds, 4),
                    "person": state.get("person"),
                },
            )


async def _sorry(send: Send, number: str) -> None:
    message = f"something went wrong here; the log has it as request {number}"
    await _said(send, RefusedError(500, "internal_error", message))


async def _late(send: Send) -> None:
    headers = retry_after(RESTART_SECONDS) | {"Connection": "close"}
    await _said(send, RefusedError(503, "draining", "the server ends; try again in a moment", headers=headers))


async def _said(send: Send, refusal: RefusedError) -> None:
    response = answer(refusal)
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as they are sent."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _add(message: Message, headers: Mapping[str, str]) -> None:
    there = {name.lower() for name, _ in message.get("headers", ())}
    message["headers"] = [
        *message.get("headers", ()),
        *(header for header in encoded(headers) if header[0] not in there),
    ]


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _route(scope: Scope) -> str:
    """The route's pattern; never the address, which is as various as clients like."""
    return getattr(scope.get("route"), "path", None) or "other"


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"
