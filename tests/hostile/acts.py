"""What an enemy does, one act at a time, each on a connection of its own. An act returns what it was answered."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from .corpus import CLIP, CORPUS, LONG
from .wire import CLOSED, Place, chunk, connected, head, part, status

ROUTES = (
    ("/transcribe", "audio", {}),
    ("/transcribe?async=1", "audio", {"language": "auto"}),
    ("/v1/audio/transcriptions", "file", {}),
    ("/v1/audio/transcriptions", "file", {"response_format": "verbose_json"}),
    ("/v1/audio/transcriptions", "file", {"stream": "true"}),
    ("/v1/audio/translations", "file", {"response_format": "srt"}),
)
_LISTED = "timestamp_granularities[]"
SECONDS = 120.0
"""An enemy's patience."""


@dataclass(frozen=True)
class Outcome:
    """What came of an act."""

    act: str
    status: int
    fault: str | None = None
    """What was wrong with the answer itself."""


Act = Callable[[Place, random.Random], Outcome]


def _client(place: Place) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://{place.host}:{place.port}",
        headers={"Authorization": f"Bearer {place.token}"},
        timeout=SECONDS,
        trust_env=False,
    )


def judged(act: str, answer: httpx.Response) -> Outcome:
    """An answer, and whether it is as answers are to be."""
    fault = None
    if answer.status_code >= httpx.codes.BAD_REQUEST:
        try:
            error = answer.json()["error"]
            if set(error) != {"message", "type", "param", "code"}:
                fault = "an error object of another shape"
        except (ValueError, KeyError, TypeError):
            fault = "an error that is no error object"
    if any(word in answer.text for word in ("Traceback", 'File "/', "site-packages", "/tmp/", "root:x:")):
        fault = "something of the machine in the answer"
    if answer.status_code in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}:
        fault = fault or (None if "retry-after" in answer.headers else "no Retry-After")
    return Outcome(act, answer.status_code, fault)


def upload(place: Place, draw: random.Random) -> Outcome:
    """Something of the corpus, to some route."""
    name = draw.choice(list(CORPUS))
    path, field, data = draw.choice(ROUTES)
    with _client(place) as client:
        answer = client.post(path, files={field: ("../../x", CORPUS[name](draw))}, data=data)
    return judged(name, answer)


def honest(place: Place, _draw: random.Random) -> Outcome:
    """What everybody else sends meanwhile; its text has to be right."""
    with _client(place) as client:
        answer = client.post("/transcribe", files={"audio": CLIP.read_bytes()})
    if answer.status_code == httpx.codes.OK and not answer.json()["transcription"].startswith("Förslaget väntar"):
        return Outcome("honest", answer.status_code, "another text than without an enemy")
    return judged("honest", answer)


def noisy(place: Place, draw: random.Random) -> Outcome:
    """Half a minute of noise that a model may take for speech."""
    with _client(place) as client:
        return judged("noisy", client.post("/transcribe", files={"audio": CORPUS["clipped noise"](draw)}))


def long(place: Place, _draw: random.Random) -> Outcome:
    """Three minutes of speech."""
    with _client(place) as client:
        return judged("long", client.post("/transcribe", files={"audio": LONG.read_bytes()}))


def stranger(place: Place, draw: random.Random) -> Outcome:
    """Without the token."""
    with _client(place) as client:
        token = draw.choice(("", "x" * 10_000, "Bearer", place.token[:-1]))
        path, field, _ = draw.choice(ROUTES)
        answer = client.post(path, files={field: b"x" * 1000}, headers={"Authorization": f"Bearer {token}".strip()})
    return judged("stranger", answer)


def fields(place: Place, draw: random.Random) -> Outcome:
    """Text fields that can't be."""
    names = ("language", "task", "prompt", "hotwords", "temperature", "response_format", _LISTED, "a")
    values = ("", "xx", "\0", "1e999", "-1", "å" * 9_000, "sv" * 5_000, "{}", "true", "../..", "%00", "nan")
    path, field, _ = draw.choice(ROUTES)
    data = {draw.choice(names): draw.choice(values) for _ in range(draw.randrange(1, 5))}
    with _client(place) as client:
        return judged("fields", client.post(path, files={field: CLIP.read_bytes()}, data=data))


def announced(place: Place, draw: random.Random) -> Outcome:
    """Four gigabytes, by its own account."""
    with connected(place) as wire:
        wire.sendall(head(place, "/transcribe", f"Content-Length: {draw.choice((4 << 30, 1 << 62, 10**30))}"))
        return Outcome("4 GB announced", status(wire))


def endless(place: Place, _draw: random.Random) -> Outcome:
    """A body that never ends, as fast as it is taken."""
    with connected(place) as wire:
        try:
            wire.sendall(head(place, "/v1/audio/transcriptions", "Transfer-Encoding: chunked") + chunk(part("file")))
            for _ in range(4096):
                wire.sendall(chunk(b"\0" * 65_536))
        except OSError:
            pass  # it was cut off, which is what it was for
        else:
            return Outcome("endless", CLOSED, "256 MB were taken")
        return Outcome("endless", status(wire))


def boundaries(place: Place, draw: random.Random) -> Outcome:
    """A recording made of what is nearly a boundary, or of the blanks that may stand behind one."""
    body = part("audio") + draw.choice((b"\r\n--b-" * 600_000, b"\r\n--b" + b" \t" * 2_000_000, b"\r\n--" * 1_000_000))
    with connected(place) as wire:
        with suppress(OSError):  # it may be refused on the way
            wire.sendall(head(place, "/transcribe", f"Content-Length: {len(body)}") + body)
        return Outcome("boundaries", status(wire))


def unread(place: Place, draw: random.Random) -> Outcome:
    """An answer that does not wait for the body, and a body that goes on, a byte at a time."""
    line = draw.choice(("GET /health", "POST /nowhere", "GET /docs"))
    with connected(place) as wire:
        wire.sendall(f"{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {1 << 40}\r\n\r\n".encode())
        answered = status(wire)
        try:
            for _ in range(200):
                wire.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            return Outcome("body nobody reads", answered)
    return Outcome("body nobody reads", answered, "the connection was held for ten seconds")


def loris(place: Place, draw: random.Random) -> Outcome:
    """A header, or a body, a byte at a time; it gives up after a while, and so may the server."""
    body = draw.random() < 0.5
    with connected(place) as wire:
        begin = head(place, "/transcribe", "Content-Length: 100000") + part("audio") if body else b"POST /transcribe HT"
        try:
            wire.sendall(begin)
            for _ in range(draw.randrange(5, 40)):
                wire.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            return Outcome("slow loris", status(wire))
    return Outcome("slow loris", CLOSED)


def halfway(place: Place, draw: random.Random) -> Outcome:
    """Gone in the middle of an upload, or while its text is made."""
    clip = CLIP.read_bytes()
    body = part("audio") + clip + b"\r\n--b--\r\n"
    sent = draw.choice((len(body) // 2, len(body)))
    with connected(place) as wire:
        wire.sendall(head(place, "/transcribe", f"Content-Length: {len(body)}") + body[:sent])
        time.sleep(draw.random() * 0.3)
    return Outcome("gone halfway", CLOSED)


def garbage(place: Place, draw: random.Random) -> Outcome:
    """No HTTP, or nearly."""
    requests = (
        draw.randbytes(2_000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(500),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /page/..%2f..%2frun.py HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /page/../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"TRACE /health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
        b"POST /transcribe HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"%ff" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(5_000)) + b"\r\n",
    )
    with connected(place) as wire:
        try:
            wire.sendall(draw.choice(requests))
        except OSError:
            return Outcome("garbage", status(wire))
        wire.settimeout(15)
        return Outcome("garbage", status(wire))


def jobs(place: Place, draw: random.Random) -> Outcome:
    """Jobs that are not there, and lists without end."""
    number = draw.choice(("x", "..", "%2e%2e%2f", "a" * 5_000, "%00", "å"))
    job = f"/jobs/{number}"
    path = draw.choice((job, f"{job}/events", f"{job}/result?format=exe", "/jobs?limit=1e9"))
    with _client(place) as client:
        return judged("jobs", client.request(draw.choice(("GET", "DELETE", "PUT")), path))


def watched(place: Place, draw: random.Random) -> Outcome:
    """A job that is watched, left, and taken away."""
    with _client(place) as client:
        answer = client.post("/transcribe?async=1", files={"audio": CLIP.read_bytes()})
        if answer.status_code == httpx.codes.ACCEPTED:
            address = answer.headers["location"]
            with client.stream("GET", f"{address}/events") as events:
                for number, _ in enumerate(events.iter_lines()):
                    if number > draw.randrange(10):
                        break
            client.delete(address)
            client.delete(address)
        return judged("watched", answer)


def socket(place: Place, draw: random.Random) -> Outcome:
    """A WebSocket that is told nonsense, or left."""
    address = f"ws://{place.host}:{place.port}/live"
    sayings = (draw.randbytes(32_000), b"\0", "{", '{"type": "end"}', draw.randbytes(960_000))
    try:
        with connect(address, open_timeout=SECONDS, close_timeout=1, proxy=None) as opened:
            token = draw.choice((place.token, place.token, "wrong" * 8))
            opened.send(json.dumps({"type": "start", "token": token}))
            for _ in range(6):
                opened.send(draw.choice(sayings))
            if draw.random() < 0.5:
                for _ in range(100):
                    opened.recv(timeout=SECONDS)
    except (WebSocketException, OSError, TimeoutError):
        return Outcome("live", CLOSED)
    return Outcome("live", httpx.codes.OK)


ACTS: Mapping[Act, int] = {
    upload: 40,
    honest: 10,
    fields: 8,
    stranger: 5,
    announced: 4,
    endless: 1,
    boundaries: 2,
    unread: 2,
    loris: 5,
    halfway: 8,
    garbage: 8,
    jobs: 5,
    watched: 4,
    socket: 4,
}
"""Acts, and how often each comes among them."""
