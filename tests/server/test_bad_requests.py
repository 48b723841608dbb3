"""What nobody should send: each gets its own 4xx, an error object, and leaves nothing behind."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from surface import CLIP, TOKEN, Surface, serving, wav

from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.limits import Limits
from gputx_remote.server.settings import RequestLimits

CAP = 4 << 20
MINUTE = 60.0
TIGHT = RequestLimits(
    upload_bytes=CAP,
    stall_seconds=0.5,
    grace_seconds=0.5,
    bytes_per_second=100_000,
    header_seconds=0.5,
    requests_per_token=8,
)
V1 = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def tight(engine: SharedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    """A server with little patience, and room for a minute of audio."""
    room = Limits(audio_seconds=MINUTE, queue_seconds=MINUTE)
    with serving(engine, tmp_path_factory.mktemp("tight"), limits=TIGHT, room=room) as surface:
        yield surface


def _refused(answer: httpx.Response, status: int, code: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "\n" not in error["message"]
    assert "/tmp" not in answer.text
    assert "Traceback" not in answer.text


def _bomb(path: Path) -> Path:
    """Ten minutes of silence in some kilobytes."""
    with soundfile.SoundFile(path, "w", 16_000, 1, format="FLAC") as file:
        for _ in range(10):
            file.write(np.zeros(16_000 * 60, np.float32))
    assert path.stat().st_size < 200_000
    return path


def _lying_wav(announced: int) -> bytes:
    """A WAV whose header announces so many bytes; a tenth of a second is there."""
    there = np.zeros(1_600, "<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    riff = b"RIFF" + struct.pack("<I", 36 + announced) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return riff + b"data" + struct.pack("<I", announced) + there


UNREADABLE = {
    "text": b"Det var en gang en text.",
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
    "file playlist": b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "smil": b'<smil><body><audio src="http://127.0.0.1:1/"/></body></smil>',
    "dash": b'<?xml version="1.0"?><MPD><Period><BaseURL>http://127.0.0.1:1/</BaseURL></Period></MPD>',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "elf": b"\x7fELF" + b"\0" * 200,
    "noise": np.random.default_rng(6).bytes(50_000),
    "half a flac": CLIP.read_bytes()[:30],
    "png": b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_audio(surface: Surface, name: str) -> None:
    with surface.client() as client:
        for path, field in (("/transcribe", "audio"), (V1, "file")):
            _refused(client.post(path, files={field: ("a.flac", UNREADABLE[name])}), 400, "audio_unreadable")
    assert surface.settled() == []


def test_no_bytes(surface: Surface) -> None:
    with surface.client() as client:
        _refused(client.post(V1, files={"file": ("a.wav", b"")}), 400, "empty_file")


def test_a_header_and_no_sample(surface: Surface, tmp_path: Path) -> None:
    with surface.client() as client:
        empty = wav(tmp_path / "a.wav", np.zeros(0, np.float32)).read_bytes()
        _refused(client.post(V1, files={"file": ("a.wav", empty)}), 400, "audio_empty")


def test_a_bomb(tight: Surface, tmp_path: Path) -> None:
    with tight.client() as client:
        _refused(client.post(V1, files={"file": _bomb(tmp_path / "b.flac").read_bytes()}), 413, "audio_too_long")
    assert tight.settled() == []


@pytest.mark.parametrize("announced", [0xFFFFFFFF - 36, 0x7FFFFFFF, 3_201, 1])
def test_a_header_that_lies_is_not_believed(surface: Surface, announced: int) -> None:
    with surface.client() as client:
        answer = client.post("/transcribe", files={"audio": _lying_wav(announced)})
    if answer.status_code == httpx.codes.OK:
        assert answer.json()["transcription"] == ""
        assert answer.json()["duration"] <= 0.2
    else:
        assert answer.status_code in {400, 413}
        assert answer.json()["error"]["code"].startswith("audio_")


def test_samples_that_are_no_numbers(surface: Surface, tmp_path: Path) -> None:
    samples, rate = soundfile.read(CLIP, dtype="float32")
    samples[::50] = np.nan
    samples[7::500] = np.inf
    with surface.client() as client:
        hurt = wav(tmp_path / "n.wav", samples, rate, "FLOAT").read_bytes()
        assert client.post("/transcribe", files={"audio": hurt}).status_code == httpx.codes.OK
        none = wav(tmp_path / "o.wav", np.full(32_000, np.nan, np.float32), subtype="FLOAT").read_bytes()
        answer = client.post("/transcribe", files={"audio": none})
    assert (answer.status_code, answer.json()["transcription"]) == (httpx.codes.OK, "")


def test_too_large_by_its_own_account_is_not_read(tight: Surface) -> None:
    with tight.connect() as wire:
        wire.sendall(_head(V1, f"Content-Length: {4 << 30}"))
        _refused(_answer(wire), 413, "file_too_large")
        assert wire.recv(1) == b"", "the connection stays open for what nobody will read"
    assert tight.settled() == []


def test_a_field_that_cannot_be_is_refused_before_the_recording(surface: Surface) -> None:
    field = b'--b\r\nContent-Disposition: form-data; name="language"\r\n\r\nklingon\r\n'
    with surface.connect() as wire:
        wire.sendall(_head(V1, "Content-Length: 100000000") + field + _part() + b"\0" * 1000)
        _refused(_answer(wire), 400, "invalid_value")
        assert wire.recv(1) == b""


def test_too_large_without_saying_so_is_read_to_the_cap(tight: Surface) -> None:
    sent = 0
    with tight.connect() as wire:
        wire.sendall(_head(V1, "Transfer-Encoding: chunked") + _chunk(_part()))
        piece = _chunk(b"\0" * 65_536)
        try:
            while sent < 64 << 20:
                wire.sendall(piece)
                sent += 65_536
        except OSError:
            pass  # it was closed while we were sending
        # What the sockets' buffers hold was not read.
        assert CAP <= sent < CAP + (16 << 20)
    assert tight.settled() == []
    with tight.client() as client:
        _refused(client.post(V1, files={"file": b"\0" * (CAP + 1)}), 413, "file_too_large")


def test_a_trickle(tight: Surface) -> None:
    started = time.monotonic()
    with tight.connect() as wire:
        wire.sendall(_head(V1, "Transfer-Encoding: chunked") + _chunk(_part()))
        try:
            for _ in range(100):
                wire.sendall(_chunk(b"\0"))
                time.sleep(0.05)
        except OSError:
            pass  # it was closed while we were sending
        _refused(_answer(wire), 408, "upload_too_slow")
    assert time.monotonic() - started < 5
    assert tight.settled() == []


def test_a_body_that_stops(tight: Surface) -> None:
    with tight.connect() as wire:
        wire.sendall(_head(V1, "Content-Length: 100000") + _part())
        _refused(_answer(wire), 408, "upload_too_slow")
    assert tight.settled() == []


@pytest.mark.parametrize("said", [b"", b"POST /transcribe HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_headers_that_do_not_come(tight: Surface, said: bytes) -> None:
    with tight.connect() as wire:
        wire.sendall(said)
        started = time.monotonic()
        assert wire.recv(100) == b""
        assert 0.2 < time.monotonic() - started < 5


def test_a_connection_is_used_again(tight: Surface) -> None:
    """The clock of one request's headers is not running while the next one is waited for."""
    with tight.connect() as wire:
        for _ in range(2):
            wire.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert _answer(wire).status_code == httpx.codes.OK
            time.sleep(0.7)


def test_a_client_that_goes_halfway(surface: Surface) -> None:
    with surface.connect() as wire:
        wire.sendall(_head("/transcribe", "Content-Length: 1000000") + _part("audio") + b"\0" * 70_000)
        deadline = time.monotonic() + 10
        while not surface.incoming and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(surface.incoming) == 1
    assert surface.settled() == []


def test_a_client_that_does_not_wait_for_its_text(surface: Surface) -> None:
    jobs = surface.service.loaded().jobs
    long = CLIP.with_name("long3min.flac").read_bytes()
    with surface.connect() as wire:
        body = _part("audio") + long + b"\r\n--b--\r\n"
        wire.sendall(_head("/transcribe", f"Content-Length: {len(body)}") + body)
        deadline = time.monotonic() + 20
        while not jobs.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert jobs.running
    deadline = time.monotonic() + 20
    while jobs.list() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert jobs.list() == []
    assert jobs.queued_seconds == 0


def test_a_form_cut_short(surface: Surface) -> None:
    body = _part() + CLIP.read_bytes()
    with surface.client() as client:
        answer = client.post(V1, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    _refused(answer, 400, "invalid_form")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("audio/flac", b"fLaC", 415, "unsupported_media_type"),
        ("application/json", b"{}", 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"file=a", 415, "unsupported_media_type"),
        ("multipart/form-data", b"", 400, "invalid_form"),
        ("multipart/form-data; boundary=" + "b" * 200, b"", 400, "invalid_form"),
        ("multipart/form-data; boundary=b", b"", 400, "invalid_form"),
        ("multipart/form-data; boundary=b", b"no form at all", 400, "invalid_form"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "missing_file"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data\r\n\r\na\r\n--b--\r\n",
            400,
            "invalid_form",
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\na\r\n--b--\r\n", 400, "invalid_form"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\xfe\r\n--b--\r\n',
            400,
            "invalid_form",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"; filename="y"\r\n\r\na\r\n--b--\r\n',
            400,
            "unknown_file",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\na\r\n' * 60 + b"--b--\r\n",
            400,
            "invalid_form",
        ),
    ],
)
def test_what_is_no_form(surface: Surface, content_type: str, body: bytes, status: int, code: str) -> None:
    with surface.client() as client:
        _refused(client.post(V1, content=body, headers={"Content-Type": content_type}), status, code)
    assert surface.settled() == []


def test_two_recordings_at_once(surface: Surface) -> None:
    with surface.client() as client:
        files = [("file", ("a", CLIP.read_bytes())), ("file", ("b", CLIP.read_bytes()))]
        _refused(client.post(V1, files=files), 400, "several_files")


def test_more_requests_than_a_token_may_have(tight: Surface) -> None:
    """All but as many as it may are told to come back; every one has an answer."""
    clip = CLIP.read_bytes()
    wires = [tight.connect() for _ in range(30)]
    body = _part() + clip + b"\r\n--b--\r\n"
    try:
        for wire in wires:
            wire.sendall(_head(V1, f"Content-Length: {len(body)}") + body)
        answers = [_answer(wire) for wire in wires]
    finally:
        for wire in wires:
            wire.close()
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    for answer in answers:
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            assert answer.json()["error"]["code"] in {"too_many_requests", "queue_full"}
            assert int(answer.headers["retry-after"]) >= 1
    assert tight.settled() == []


def test_a_queue_that_is_full(tight: Surface) -> None:
    samples, rate = soundfile.read(CLIP.with_name("long3min.flac"), frames=50 * 16_000, dtype="float32")
    path = wav(tight.state / "fifty.wav", samples, rate)
    with tight.client() as client:
        files = {"audio": path.read_bytes()}
        first = client.post("/transcribe?async=1", files=files)
        assert first.status_code == httpx.codes.ACCEPTED
        second = client.post("/transcribe?async=1", files=files)
        _refused(second, 429, "queue_full")
        assert int(second.headers["retry-after"]) >= 1
        client.delete(first.headers["location"])
    path.unlink()


def _head(path: str, *headers: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: a",
        f"Authorization: Bearer {TOKEN}",
        "Content-Type: multipart/form-data; boundary=b",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _part(name: str = "file") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n\r\n'.encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _answer(wire: socket.socket) -> httpx.Response:
    """One answer, whose length is announced."""
    wire.settimeout(60)
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(wire)
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += _more(wire)
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


def _more(wire: socket.socket) -> bytes:
    data = wire.recv(65_536)
    assert data, "the connection ended without an answer"
    return data


def test_every_answer_of_v1_is_json(surface: Surface) -> None:
    with surface.client() as client:
        for method, path in (("GET", "/v1/nothing"), ("GET", V1), ("DELETE", "/v1/models"), ("GET", "/v1/models/none")):
            answer = client.request(method, path)
            assert answer.status_code in {404, 405}
            assert set(json.loads(answer.text)["error"]) == {"message", "type", "param", "code"}
