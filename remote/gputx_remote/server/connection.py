"""A connection that has to say what it wants in time: uvicorn's own, with a clock for the headers.

uvicorn bounds how long a connection may be idle between two requests, but not how long a request line and its headers
may take to come, nor a body that nobody reads any more: one byte a minute would hold a connection for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from gputx_remote.server.errors import RefusedError, answer, retry_after
from gputx_remote.server.frame import HEADERS, Frame, encoded
from gputx_remote.server.metrics import Metrics
from gputx_remote.server.settings import RequestLimits

MAX_HEADER_BYTES = 32 << 10
MESSAGE_BYTES = 1 << 20
"""Of a WebSocket message."""
LAST_SECONDS = 5.0
"""For the last answers to be sent, once nothing is accepted any more."""
LINGER_SECONDS = 2.0
"""For which somebody who is still sending what nobody reads may read the answer."""
LINGER_BYTES = 1 << 20
"""Of that, taken off the connection meanwhile."""


class _Held:
    """A transport that is closed gently where the other side is still sending: it gets the answer, and is not heard."""

    def __init__(self, transport: asyncio.Transport, unread: Callable[[], bool]) -> None:
        self._transport = transport
        self._unread = unread
        self._dropped = 0
        self.lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.lingering:
            return
        if self._transport.is_closing() or not self._unread():
            self._transport.close()
            return
        # Closed at once, the kernel would answer what is still coming with a reset, which may overtake our answer.
        self.lingering = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)
        self._transport.resume_reading()

    def drop(self, data: bytes) -> None:
        """What comes after the answer."""
        self._dropped += len(data)
        if self._dropped > LINGER_BYTES and not self._transport.is_closing():
            self._transport.pause_reading()


def protocol(limits: RequestLimits, crowded: ASGIApp) -> type[asyncio.Protocol]:
    """The protocol for uvicorn.

    Args:
        limits: of connections, and of the time that headers may take.
        crowded: answers where there are too many connections.
    """

    class Timed(H11Protocol):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._served = self.app
            # uvicorn's own answer has neither our shape nor our headers.
            self.limit_concurrency = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._timer: asyncio.TimerHandle | None = None
            self._held = _Held(transport, self._unread)  # type: ignore[arg-type] # what it is for TCP
            super().connection_made(self._held)  # type: ignore[arg-type] # it does all that one does
            self._wait()

        def data_received(self, data: bytes) -> None:
            if self._held.lingering:
                self._held.drop(data)
                return
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop()
            elif self._timer is None:
                self._wait()

        def handle_events(self) -> None:
            self.app = crowded if len(self.connections) > limits.connections else self._served
            super().handle_events()

        def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as uvicorn calls it
            response = answer(RefusedError(400, "bad_request", "this is no HTTP request that can be read"))
            headers = [*response.raw_headers, *encoded(HEADERS), (b"connection", b"close")]
            # Where an answer is under way already, the connection's end is all that can be said.
            with suppress(h11.LocalProtocolError):
                self.transport.write(
                    self.conn.send(h11.Response(status_code=400, headers=headers, reason=b"Bad Request"))
                    + self.conn.send(h11.Data(data=bytes(response.body)))
                    + self.conn.send(h11.EndOfMessage())
                )
            self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _unread(self) -> bool:
            """Whether more of a request is coming that has been answered."""
            return self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY

        def _wait(self) -> None:
            self._timer = self.loop.call_later(limits.header_seconds, self._over)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _over(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return Timed


def _crowded(metrics: Metrics) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        metrics.refused("too_many_connections")
        message = "there are as many connections as there may be; try again in a moment"
        headers = retry_after(1) | {"Connection": "close"}
        await answer(RefusedError(503, "too_many_connections", message, headers=headers))(scope, receive, send)

    return Frame(app, metrics)


def config(app: FastAPI, limits: RequestLimits, *, cert: Path | None = None, key: Path | None = None) -> uvicorn.Config:
    """How uvicorn serves an app.

    Args:
        app: what it serves.
        limits: of connections and requests.
        cert: the certificate chain in PEM for TLS; None for plain HTTP.
        key: its key.
    """
    return uvicorn.Config(
        app,
        http=protocol(limits, _crowded(app.state.service.metrics)),
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        # Sound does not get smaller by it, and a bomb could.
        ws_per_message_deflate=False,
        # Whoever sends faster than the model hears is not read from for a while, their pongs included.
        ws_ping_timeout=None,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=round(limits.keep_alive_seconds),
        timeout_graceful_shutdown=round(LAST_SECONDS),
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
