"""Connections that are held, flooded or fed what wears a parser out: they cost the others nothing, and end."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from surface import TOKEN, Surface, serving

from gputx_remote.server import connection, parts, uploads
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.errors import RefusedError
from gputx_remote.server.parts import Form, Parts
from gputx_remote.server.service import Service
from gputx_remote.server.settings import RequestLimits

BEGIN = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
LIMITS = RequestLimits()


@pytest.fixture(scope="module")
def few(engine: SharedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    """A server that takes three connections."""
    with serving(engine, tmp_path_factory.mktemp("few"), limits=RequestLimits(connections=3)) as surface:
        yield surface


def _form() -> Parts:
    return Parts(b"b", LIMITS, Form(Path("nowhere")), "audio", lambda _fields: None)


def _headers(wire: Any) -> dict[str, str]:
    """Status and headers of the answer that comes; what is behind them is read to the end of the connection."""
    data = b""
    while more := wire.recv(65_536):
        data += more
    lines = data.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    return {"status": lines[0].split(" ")[1]} | dict(line.split(": ", 1) for line in lines[1:])


def _sent(wire: Any, most: int) -> int:
    """Bytes that could be sent before the connection ended."""
    sent = 0
    with suppress(OSError):
        while sent < most:
            sent += wire.send(b"x" * 65_536)
    return sent


@pytest.mark.parametrize("body", [b"\r\n--b-" * 1000, b"\r\n--bc" * 1000], ids=["nearly the last", "a longer one"])
def test_boundaries_that_are_none_are_not_gone_through_one_by_one(body: bytes) -> None:
    form = _form()
    form.feed(BEGIN)
    with pytest.raises(RefusedError, match="more than 40 fields"):
        form.feed(body)


def test_blanks_behind_a_boundary_come_to_an_end() -> None:
    form = _form()
    form.feed(BEGIN + b"\r\n--b" + b" " * parts.SILENT_BYTES)
    form.feed(b" \t" * (parts.SILENT_BYTES // 2))
    with pytest.raises(RefusedError, match="blanks"):
        form.feed(b" ")


def test_what_looks_like_half_a_boundary_is_audio() -> None:
    data = b"\r\n--" * 5000 + b" " * 5000 + b"\r\n--B" * 5000
    form = _form()
    for piece in (BEGIN, data, b"\r\n--b--\r\n", b"\r\n" * 5000):
        form.feed(piece)
    assert bytes(form.pending) == data
    assert form.finished().size == len(data)


class _Request:
    """A form that comes in one piece."""

    def __init__(self, body: bytes) -> None:
        self.headers = {"content-type": "multipart/form-data; boundary=b"}
        self._body = body

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}


def _service() -> Any:
    """As much of a service as an upload needs."""
    service: Any = SimpleNamespace(settings=SimpleNamespace(limits=LIMITS), leaving=asyncio.Event())
    service.ending = lambda: RefusedError(503, "draining", "it ends")
    service.unless_leaving = lambda work: Service.unless_leaving(service, work)
    return service


def test_others_have_their_turn_while_a_large_piece_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = 20
    body = BEGIN + b"\0" * (pieces * uploads.SLICE_BYTES) + b"\r\n--b--\r\n"
    turns = 0
    seen: list[int] = []
    feed = Parts.feed

    def watched(self: Parts, chunk: bytes) -> None:
        seen.append(turns)
        feed(self, chunk)

    monkeypatch.setattr(Parts, "feed", watched)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def run() -> None:
        other = asyncio.create_task(others())
        request: Any = _Request(body)
        async with uploads.receive(request, _service(), tmp_path, "audio", lambda _fields: None) as form:
            assert form.size == pieces * uploads.SLICE_BYTES
        other.cancel()

    asyncio.run(run())
    assert len(seen) > pieces
    assert all(later > before for before, later in pairwise(seen))


def test_an_upload_that_is_on_its_way_when_the_server_ends_is_told_so(tmp_path: Path) -> None:
    async def run() -> RefusedError:
        service, request = _service(), _Request(BEGIN)
        came = asyncio.Event()

        async def nothing() -> dict[str, Any]:
            came.set()
            await asyncio.sleep(60)
            raise AssertionError

        request.receive = nothing  # type: ignore[method-assign]
        asyncio.get_running_loop().call_later(0.01, service.leaving.set)
        with pytest.raises(RefusedError) as refused:
            async with asyncio.timeout(10), uploads.receive(request, service, tmp_path, "audio", lambda _fields: None):  # type: ignore[arg-type]
                raise AssertionError
        assert came.is_set()
        return refused.value

    refusal = asyncio.run(run())
    assert (refusal.status, refusal.code, refusal.headers["Connection"]) == (503, "draining", "close")
    assert list(tmp_path.iterdir()) == []


class _Stubborn(io.FileIO):
    """A file that takes a thousand bytes at a time."""

    def write(self, data: Any) -> int:
        return super().write(bytes(data[:1000]))


def test_a_write_that_takes_less_than_it_is_given_goes_on(tmp_path: Path) -> None:
    form = _form()
    form.pending += bytes(range(256)) * 20
    with _Stubborn(tmp_path / "a", "w") as file:
        asyncio.run(uploads._write(file, form))  # type: ignore[arg-type]
    assert (tmp_path / "a").read_bytes() == bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET /health", "200"), ("POST /transcribe", "401"), ("POST /nowhere", "404"), ("GET /v1/models", "401")],
)
def test_a_body_nobody_reads_holds_no_connection(
    surface: Surface, monkeypatch: pytest.MonkeyPatch, line: str, status: str
) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.1)
    with surface.connect() as wire:
        wire.sendall(f"{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {4 << 30}\r\n\r\n".encode() + b"x")
        answer = _headers(wire)
        assert (answer["status"], answer["connection"]) == (status, "close")
        # A reset, once the moment for reading the answer is over.
        assert _sent(wire, 64 << 20) < 32 << 20, "it was read and thrown away"


def test_the_answer_is_read_by_who_sends_all_of_it_first(surface: Surface) -> None:
    """More than the sockets' buffers hold is not read; what they hold does not stand in the answer's way."""
    with surface.client(token=None) as client:
        answer = client.post("/transcribe", content=b"x" * (900 << 10))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_one_connection_too_many_is_told_so(few: Surface) -> None:
    with few.connect(), few.connect(), few.connect(), few.connect() as wire:
        wire.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        data = b""
        while more := wire.recv(65_536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert json.loads(body)["error"]["code"] == "too_many_connections"
    for header in (b"retry-after: ", b"x-content-type-options: nosniff", b"content-type: application/json"):
        assert header in head.lower()


def test_what_is_no_http_gets_our_shape(surface: Surface) -> None:
    with surface.connect() as wire:
        wire.sendall(b"what is this\r\n\r\n")
        data = b""
        while more := wire.recv(65_536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["code"] == "bad_request"
    assert b"x-content-type-options: nosniff" in head.lower()


@pytest.mark.parametrize(
    ("path", "code"), [("/nowhere", "not_found"), ("/jobs/x", "no_such_job"), ("/jobs?limit=x", "invalid_value")]
)
def test_refusals_are_counted_by_code(surface: Surface, path: str, code: str) -> None:
    def count(client: httpx.Client) -> float:
        lines = client.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith(f'gputx_refusals_total{{code="{code}"}}')]
        return float(found[0].split()[1]) if found else 0.0

    with surface.client(TOKEN) as client:
        before = count(client)
        client.get(path)
        assert count(client) == before + 1
