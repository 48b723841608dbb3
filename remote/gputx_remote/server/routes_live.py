"""``/live``: a WebSocket that takes 16 kHz audio as it is recorded and gives text as it is spoken."""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.types import Message

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.errors import EngineError
from gputx_remote.server import wishes
from gputx_remote.server.auth import LIVE_PROTOCOL, Person
from gputx_remote.server.connection import LAST_SECONDS
from gputx_remote.server.errors import RefusedError, answer, error_object
from gputx_remote.server.live import Final, Live, LiveUnavailableError, Partial
from gputx_remote.server.logs import log
from gputx_remote.server.service import Rooms, Service
from gputx_remote.server.shapes import SegmentShape

router = APIRouter()

SAMPLE_RATE = 16_000
CHUNK_BYTES = 2 * SAMPLE_RATE * 30
"""Of one message at most: half a minute."""
START_SECONDS = 10.0
"""For the first message."""
LAST_MESSAGES_SECONDS = 1.0
"""For what was on its way when the server began to end."""

_NORMAL, _REFUSED, _FAULT, _RESTART = 1000, 1008, 1011, 1012
_STARTING = ("language", "task", "prompt", "hotwords", "word_timestamps")


@router.websocket("/live")
async def live(socket: WebSocket) -> None:
    """One session, from its first message to its end."""
    service: Service = socket.app.state.service
    offered = socket.scope.get("subprotocols", [])
    try:
        _own_origin(socket)
        person = service.tokens.of_protocols(offered)
    except RefusedError as error:
        # Not a WebSocket yet: an ordinary answer.
        service.metrics.refused(error.code)
        await socket.send_denial_response(answer(error))
        return
    await socket.accept(subprotocol=LIVE_PROTOCOL if LIVE_PROTOCOL in offered else None)
    try:
        await _session(service, socket, person)
    except RefusedError as error:
        service.metrics.refused(error.code)
        fault = error_object(error.status, error.code, error.message, error.param)
        await _close(socket, {"type": "error"} | fault, _FAULT if error.status >= 500 else _REFUSED)
    except WebSocketDisconnect:
        return
    except EngineError as error:
        fault = error_object(500, "engine", str(error))
        await _close(socket, {"type": "error"} | fault, _FAULT)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and answered
        log.error("unexpected", exc_info=error, extra={"route": "/live"})
        fault = error_object(500, "internal_error", "something went wrong here; the log has it")
        await _close(socket, {"type": "error"} | fault, _FAULT)


async def _session(service: Service, socket: WebSocket, person: Person | None) -> None:
    start = await _start(socket, service.settings.limits.field_bytes)
    token = start.pop("token", None)
    if person is None:
        person = service.tokens.authorized(f"Bearer {token}" if token else None)
    rooms = service.open()
    fields = _fields(start)
    # In a thread: a prompt is made into tokens.
    options = await asyncio.to_thread(
        wishes.options,
        fields,
        rooms.engine.vocabulary,
        wanted_task=wishes.word_of(fields, "task", ("transcribe", "translate")),
        words=wishes.flag(fields, "word_timestamps"),
        default=service.settings.language,
    )
    with service.live_session(person):
        service.touch()
        session = _opened(rooms, options)
        try:
            await socket.send_json({"type": "ready", "sample_rate": SAMPLE_RATE})
            told = asyncio.create_task(_tell(socket, session))
            heard = asyncio.create_task(_hear(service, socket, session))
            try:
                await asyncio.wait((told, heard), return_when=asyncio.FIRST_EXCEPTION)
                # Whichever failed says why; the other is cancelled below.
                for task in (heard, told):
                    if task.done():
                        task.result()
                last = told.result()
                leaving = service.leaving.is_set() or rooms.engine.broken
                await _close(socket, last, _RESTART if leaving else _NORMAL)
            finally:
                for task in (told, heard):
                    task.cancel()
                    with suppress(asyncio.CancelledError, WebSocketDisconnect, RefusedError):
                        await task
        finally:
            session.close()


def _opened(rooms: Rooms, options: TranscribeOptions) -> Live:
    try:
        return rooms.live(options)
    except LiveUnavailableError as error:
        raise RefusedError(501, "live_unavailable", str(error)) from error


async def _hear(service: Service, socket: WebSocket, session: Live) -> None:
    """Audio into the session, until the client says it was all, or the server is about to end."""
    until = math.inf
    while time.monotonic() < until:
        message = await _next(service, socket)
        if message is None:
            break
        if service.leaving.is_set():
            # What has come already, and no more than that: a file may be sent faster than time goes by.
            until = min(until, time.monotonic() + LAST_MESSAGES_SECONDS)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        pcm = message.get("bytes")
        if pcm is None:
            if _parsed(message.get("text") or "").get("type") != "end":
                raise RefusedError(400, "invalid_message", 'send audio in binary messages, and {"type": "end"} last')
            break
        if len(pcm) % 2 or len(pcm) > CHUNK_BYTES:
            raise RefusedError(400, "invalid_audio", "a message holds whole 16-bit samples, half a minute at most")
        service.touch()
        if not await _fed(service, session, pcm):
            break
    session.finish()
    if service.leaving.is_set():
        # What the model has not heard by then is left out.
        patience = service.settings.drain_seconds - LAST_SECONDS
        asyncio.get_running_loop().call_later(max(0.0, patience), session.close)


async def _fed(service: Service, session: Live, pcm: bytes) -> bool:
    """Audio into the session; where the model can't keep up that takes a while. False where the server is about to end
    before."""
    feeding = asyncio.ensure_future(session.feed(pcm))
    leaving = asyncio.ensure_future(service.leaving.wait())
    try:
        await asyncio.wait((feeding, leaving), return_when=asyncio.FIRST_COMPLETED)
        return feeding.done()
    finally:
        feeding.cancel()
        leaving.cancel()


async def _next(service: Service, socket: WebSocket) -> Message | None:
    """The next message; None where the server is about to end."""
    receiving = asyncio.ensure_future(socket.receive())
    leaving = asyncio.ensure_future(service.leaving.wait())
    try:
        patience = service.settings.limits.live_wait_seconds
        await asyncio.wait((receiving, leaving), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            return receiving.result()
        if leaving.done():
            return None
        raise RefusedError(408, "too_slow", f"no audio for {patience:g} s: the session is over")
    finally:
        receiving.cancel()
        leaving.cancel()


async def _tell(socket: WebSocket, session: Live) -> dict[str, Any]:
    """What is heard, as it is; the last message is returned."""
    texts: list[str] = []
    number = 0
    async for item in session.events():
        if isinstance(item, Final):
            shape = SegmentShape.of(number, item.segment)
            number += 1
            texts.append(item.segment.text.strip())
            await socket.send_json({"type": "final"} | shape.model_dump())
        elif isinstance(item, Partial):
            await socket.send_json({"type": "partial", "start": item.start_ms / 1000, "text": item.text})
    return {"type": "end", "duration": round(session.seconds, 3), "text": " ".join(text for text in texts if text)}


async def _start(socket: WebSocket, most: int) -> dict[str, Any]:
    try:
        message = await asyncio.wait_for(socket.receive(), START_SECONDS)
    except TimeoutError:
        raise RefusedError(408, "too_slow", "the first message did not come") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    start = _parsed(message.get("text") or "")
    if start.pop("type", None) != "start":
        raise RefusedError(400, "invalid_message", 'the first message is {"type": "start", …}')
    for name, value in start.items():
        if isinstance(value, str) and len(value.encode()) > most:
            raise RefusedError(400, "field_too_long", f"a field has more than {most} bytes", param=name[:64])
    return start


def _parsed(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
        # JSON may spell half a character, which is none and can be sent to nobody.
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RefusedError(400, "invalid_message", "a text message is a JSON object")
    return fields


def _fields(start: dict[str, Any]) -> dict[str, list[str]]:
    """The fields of the first message as those of a form."""
    wishes.known(start, _STARTING)
    fields = {}
    for name, value in start.items():
        if isinstance(value, bool):
            fields[name] = [str(value).lower()]
        elif isinstance(value, str):
            fields[name] = [value]
        elif value is not None:
            raise RefusedError(400, "invalid_value", f"{name} can't be that: a string", param=name)
    return fields


def _own_origin(socket: WebSocket) -> None:
    """A browser says which page opens a WebSocket; only one of ours may."""
    origin = socket.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != socket.headers.get("host", "").lower():
        raise RefusedError(403, "foreign_origin", "a page of another origin may not connect")


async def _close(socket: WebSocket, message: dict[str, Any], code: int) -> None:
    # The other side may have gone meanwhile, which is what it was told to do.
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_json(message)
        await socket.close(code)
