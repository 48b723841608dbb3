"""``/live`` over a real WebSocket: speech in as it would be recorded, text out while it is spoken."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import soundfile
from surface import CLIP, CLIP_TEXT, TOKEN, Surface, serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gputx_remote.server import connection, routes_live
from gputx_remote.server.app import create_app
from gputx_remote.server.auth import LIVE_PROTOCOL, TOKEN_PROTOCOL
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.settings import RequestLimits

PROTOCOLS = [LIVE_PROTOCOL, TOKEN_PROTOCOL + base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")]
Session = Callable[[ClientConnection], Coroutine[Any, Any, Any]]


@pytest.fixture(scope="module")
def short(engine: SharedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    """A server that waits for half a second and takes one session."""
    with serving(
        engine, tmp_path_factory.mktemp("live"), limits=RequestLimits(live_wait_seconds=0.5, live_per_token=1)
    ) as surface:
        yield surface


@pytest.fixture(scope="module")
def speech() -> bytes:
    samples, rate = soundfile.read(CLIP, dtype="int16")
    assert rate == 16_000
    return samples.tobytes()


def _with(surface: Surface, session: Session, **options: Any) -> Any:
    async def run() -> Any:
        options.setdefault("subprotocols", PROTOCOLS)
        async with asyncio.timeout(60), connect(f"ws://127.0.0.1:{surface.port}/live", proxy=None, **options) as socket:
            return await session(socket)

    return asyncio.run(run())


async def _rest(socket: ClientConnection) -> list[dict[str, Any]]:
    """All messages to the end."""
    found = []
    try:
        while True:
            found.append(json.loads(await socket.recv()))
    except ConnectionClosed:
        return found


async def _spoken(socket: ClientConnection, speech: bytes, **start: Any) -> list[dict[str, Any]]:
    await socket.send(json.dumps({"type": "start"} | start))
    assert json.loads(await socket.recv()) == {"type": "ready", "sample_rate": 16_000}
    for at in range(0, len(speech), 8_000):
        await socket.send(speech[at : at + 8_000])
        await asyncio.sleep(0)
    await socket.send(json.dumps({"type": "end"}))
    return await _rest(socket)


def test_speech_becomes_text(surface: Surface, speech: bytes) -> None:
    async def session(socket: ClientConnection) -> list[dict[str, Any]]:
        assert socket.subprotocol == LIVE_PROTOCOL
        found = await _spoken(socket, speech, language="sv", word_timestamps=True)
        assert socket.close_code == 1000
        return found

    found = _with(surface, session)
    assert {message["type"] for message in found} <= {"partial", "final", "end"}
    finals = [message for message in found if message["type"] == "final"]
    assert [final["id"] for final in finals] == list(range(len(finals)))
    assert finals[0]["words"]
    ends = [0.0, *(final["end"] for final in finals)]
    assert all(final["start"] >= before for final, before in zip(finals, ends, strict=False))
    end = found[-1]
    assert end["type"] == "end"
    assert end["duration"] == pytest.approx(len(speech) / 32_000)
    assert end["text"].lower().startswith(CLIP_TEXT)
    assert end["text"] == " ".join(final["text"].strip() for final in finals)


def test_the_token_may_be_in_the_first_message(surface: Surface) -> None:
    async def session(socket: ClientConnection) -> Any:
        assert socket.subprotocol is None
        return await _spoken(socket, np.zeros(16_000, "<i2").tobytes(), token=TOKEN)

    found = _with(surface, session, subprotocols=None)
    assert found == [{"type": "end", "duration": 1.0, "text": ""}]


@pytest.mark.parametrize("start", [{}, {"token": "wrong-wrong-wrong-wrong"}, {"token": 7}, {"token": ["a"]}])
def test_no_token_no_session(surface: Surface, start: dict[str, Any]) -> None:
    async def session(socket: ClientConnection) -> None:
        await socket.send(json.dumps({"type": "start"} | start))
        assert [message["error"]["code"] for message in await _rest(socket)] == ["invalid_api_key"]
        assert socket.close_code == 1008

    _with(surface, session, subprotocols=None)


def test_a_wrong_token_is_refused_before_there_is_a_socket(surface: Surface) -> None:
    wrong = TOKEN_PROTOCOL + base64.urlsafe_b64encode(b"wrong").decode().rstrip("=")
    with pytest.raises(InvalidStatus) as refused:
        _with(surface, _rest, subprotocols=[LIVE_PROTOCOL, wrong])
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "invalid_api_key"


def test_a_page_of_another_origin_is_refused(surface: Surface) -> None:
    with pytest.raises(InvalidStatus) as refused:
        _with(surface, _rest, origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403


def test_a_page_of_our_own_is_not(surface: Surface) -> None:
    _with(surface, lambda socket: _spoken(socket, b""), origin=f"http://127.0.0.1:{surface.port}")


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["no JSON"], "invalid_message"),
        (["[]"], "invalid_message"),
        (["[" * 50_000], "invalid_message"),
        ([b"\0\0"], "invalid_message"),
        (['{"type": "end"}'], "invalid_message"),
        (['{"type": "start", "language": "klingon"}'], "invalid_value"),
        (['{"type": "start", "language": 7}'], "invalid_value"),
        (['{"type": "start", "colour": "red"}'], "unknown_field"),
        (['{"type": "start"}', b"\0"], "invalid_audio"),
        (['{"type": "start"}', b"\0" * 970_000], "invalid_audio"),
        (['{"type": "start"}', '{"type": "more"}'], "invalid_message"),
    ],
)
def test_what_cannot_be_said(surface: Surface, messages: list[str | bytes], code: str) -> None:
    async def session(socket: ClientConnection) -> None:
        for message in messages:
            await socket.send(message)
        last = (await _rest(socket))[-1]
        assert (last["type"], last["error"]["code"]) == ("error", code)
        assert socket.close_code == 1008

    _with(surface, session)
    assert surface.service.live.total() == 0


def test_a_message_that_is_too_large_ends_it(surface: Surface) -> None:
    async def session(socket: ClientConnection) -> None:
        await socket.send('{"type": "start"}')
        with suppress(ConnectionClosed):
            await socket.send(b"\0" * (2 << 20))
        await _rest(socket)
        assert socket.close_code == 1009

    _with(surface, session)


def test_silence_on_the_line_ends_it(short: Surface) -> None:
    async def session(socket: ClientConnection) -> None:
        await socket.send('{"type": "start"}')
        assert (await _rest(socket))[-1]["error"]["code"] == "too_slow"

    _with(short, session)


def test_a_server_that_ends_does_not_listen_to_a_file_to_its_end(
    short: Surface, speech: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender never stops, and a message is always there."""
    monkeypatch.setattr(routes_live, "LAST_MESSAGES_SECONDS", 0.1)

    async def session(socket: ClientConnection) -> None:
        await socket.send('{"type": "start", "language": "sv"}')
        await socket.recv()
        await socket.send(speech)

        async def sending() -> None:
            with suppress(ConnectionClosed):
                while True:
                    await socket.send(b"\0" * 320)

        sender = asyncio.create_task(sending())
        await asyncio.sleep(0.1)
        short.loop.call_soon_threadsafe(short.service.leaving.set)
        found = await _rest(socket)
        assert found[-1]["type"] == "end"
        assert found[-1]["text"].lower().startswith(CLIP_TEXT)
        assert socket.close_code == 1012
        await sender

    try:
        _with(short, session)
    finally:
        short.service.leaving.clear()


def test_fields_that_are_too_long_or_half_characters(surface: Surface) -> None:
    for start, code in (
        ({"prompt": "ab" * 10_000}, "field_too_long"),
        ({"hotwords": "å" * 9_000}, "field_too_long"),
        ({"prompt": "\ud800"}, "invalid_message"),
        ({"\udfff": "x"}, "invalid_message"),
        ({"token": "\ud800" * 20}, "invalid_message"),
    ):

        async def session(socket: ClientConnection, start: dict[str, str] = start) -> list[dict[str, Any]]:
            await socket.send(json.dumps({"type": "start"} | start))
            found = await _rest(socket)
            assert socket.close_code == 1008
            return found

        assert [message["error"]["code"] for message in _with(surface, session)] == [code]


def test_nobody_is_cut_off_for_a_pong_that_is_not_read(surface: Surface) -> None:
    """A sender faster than the model is not read from for a while; its pongs lie behind what it sends."""
    config = connection.config(create_app(surface.service), surface.service.settings.limits)
    assert config.ws_ping_timeout is None


def test_as_many_sessions_as_a_token_may_have(short: Surface) -> None:
    async def second(socket: ClientConnection) -> Any:
        await socket.send('{"type": "start"}')
        return (await _rest(socket))[-1]

    async def both() -> Any:
        address = f"ws://127.0.0.1:{short.port}/live"
        async with connect(address, subprotocols=PROTOCOLS, proxy=None) as first:  # type: ignore[arg-type]
            await first.send('{"type": "start"}')
            await first.recv()
            async with connect(address, subprotocols=PROTOCOLS, proxy=None) as other:  # type: ignore[arg-type]
                return await second(other)

    assert asyncio.run(both())["error"]["code"] == "too_many_sessions"


def test_a_speaker_who_goes_is_forgotten(surface: Surface, speech: bytes) -> None:
    async def session(socket: ClientConnection) -> None:
        await socket.send('{"type": "start"}')
        await socket.send(speech[:64_000])
        socket.transport.abort()

    _with(surface, session)

    async def gone() -> None:
        async with asyncio.timeout(10):
            while surface.service.live.total():
                await asyncio.sleep(0.02)

    asyncio.run(gone())


def test_who_is_speaking_when_the_server_ends_gets_what_was_said(short: Surface, speech: bytes) -> None:
    async def session(socket: ClientConnection) -> None:
        await socket.send('{"type": "start", "language": "sv"}')
        await socket.recv()
        for at in range(0, len(speech), 32_000):
            await socket.send(speech[at : at + 32_000])
        short.loop.call_soon_threadsafe(short.service.leaving.set)
        found = await _rest(socket)
        assert found[-1]["type"] == "end"
        assert socket.close_code == 1012

    try:
        _with(short, session)
    finally:
        short.service.leaving.clear()
