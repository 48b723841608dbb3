"""Who may ask: tokens, and what an answer carries whoever asks."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from pathlib import Path

import httpx
import pytest
from surface import CLIP, OTHER, TOKEN, Surface

from gputx_remote.server import auth
from gputx_remote.server.auth import TOKEN_PROTOCOL, Person, Tokens
from gputx_remote.server.errors import RefusedError
from gputx_remote.server.logs import JsonLines

OPEN = ("/health", "/", "/page/app.js", "/docs", "/openapi.json")


@pytest.mark.parametrize("path", OPEN)
def test_what_needs_no_token(surface: Surface, path: str) -> None:
    with surface.client(None) as client:
        assert client.get(path).status_code == httpx.codes.OK


def test_all_else_needs_one(surface: Surface) -> None:
    """Whatever the OpenAPI document lists, and whatever somebody adds to it."""
    with surface.client(None) as client:
        document = client.get("/openapi.json").json()
        asked = 0
        for path, methods in document["paths"].items():
            for method in methods:
                if path in OPEN:
                    continue
                asked += 1
                answer = client.request(method, path.replace("{id}", "a").replace("{name}", "tiny"))
                assert (answer.status_code, answer.headers["www-authenticate"].split()[0]) == (401, "Bearer")
                assert answer.json()["error"]["code"] == "invalid_api_key"
    assert asked >= 10


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN} {OTHER}",
        f"Bearer {TOKEN.upper()}",
        "Bearer \xe5\xe4\xf6",
    ],
)
def test_what_is_no_token(surface: Surface, header: str) -> None:
    with surface.client(None) as client:
        answer = client.get("/jobs", headers={"Authorization": header.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_token_is_never_taken_from_the_address(surface: Surface) -> None:
    with surface.client(None) as client:
        for name in ("token", "access_token", "api_key"):
            assert client.get("/jobs", params={name: TOKEN}).status_code == httpx.codes.UNAUTHORIZED


def test_a_wrong_token_is_refused_before_the_body(surface: Surface) -> None:
    with surface.connect() as wire:
        wire.sendall(b"POST /transcribe HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert wire.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = auth.hmac.compare_digest

    def counted(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return real(one, two)

    monkeypatch.setattr(auth.hmac, "compare_digest", counted)
    tokens = Tokens([("a", TOKEN), ("b", OTHER)])
    found = tokens.person(TOKEN)
    assert found is not None
    assert found.name == "a"
    # All of them, though the first fits; digests of one length, never the tokens.
    assert [len(part) for pair in compared for part in pair] == [32] * 4
    assert hashlib.sha256(TOKEN.encode()).digest() in compared[0]


def test_an_owner_does_not_tell_the_token() -> None:
    person = Tokens([("a", TOKEN)]).person(TOKEN)
    assert person == Person("a", hashlib.sha256(TOKEN.encode()).hexdigest()[:32])


def test_a_tokens_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n\nanna:{TOKEN}\n{OTHER}\n", encoding="utf-8")
    tokens = Tokens.load(path)
    anna, other = tokens.person(TOKEN), tokens.person(OTHER)
    assert anna is not None
    assert other is not None
    assert (anna.name, other.name) == ("anna", "token2")


@pytest.mark.parametrize("text", ["", "# nobody\n", "short", f"two words {TOKEN}", "ååååååååååååååååååååå"])
def test_what_is_no_tokens_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="token"):
        Tokens.load(path)


def test_a_made_token_is_long_and_new() -> None:
    made = {auth.make() for _ in range(50)}
    assert len(made) == 50
    assert all(len(token) == 43 for token in made)


def test_a_token_among_subprotocols() -> None:
    tokens = Tokens([("a", TOKEN)])
    packed = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    person = tokens.of_protocols(["gputx.live", TOKEN_PROTOCOL + packed])
    assert person is not None
    assert person.name == "a"
    assert tokens.of_protocols(["gputx.live"]) is None
    for wrong in (packed[:-2], "!!!", "", "AAAA"):
        with pytest.raises(RefusedError):
            tokens.of_protocols([TOKEN_PROTOCOL + wrong])


@pytest.mark.parametrize("path", ["/health", "/jobs", "/nothing", "/v1/models", "/", "/docs", "/page/app.js"])
def test_security_headers(surface: Surface, path: str) -> None:
    with surface.client() as client:
        answer = client.get(path, headers={"Origin": "https://elsewhere.example"})
        asked = client.options(
            path, headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
        )
    for headers in (answer.headers, asked.headers):
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        # CORS is closed: no origin is let in, no method is allowed to it.
        assert not [name for name in headers if name.startswith("access-control-")]
        assert "server" not in headers
    assert answer.headers["x-request-id"] != asked.headers["x-request-id"]


def test_a_fault_of_ours_shows_nothing_of_us(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError(13, "secret words", "/secret/path")

    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines().format(record))

    handler = Kept()
    logger = logging.getLogger("gputx.server")
    logger.addHandler(handler)
    monkeypatch.setattr(surface.service, "loaded", broken)
    try:
        with surface.client() as client:
            answer = client.get("/jobs")
    finally:
        logger.removeHandler(handler)
    assert answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "secret" not in answer.text
    number = answer.headers["x-request-id"]
    assert number in error["message"]
    # The log has it, with the place and without the words.
    logged = [json.loads(line) for line in lines]
    assert [line for line in logged if line["event"] == "unexpected" and line["request"] == number and line["at"]]
    assert "secret" not in "".join(lines)


def test_logs_hold_no_words_no_names_no_tokens(surface: Surface, capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines().format(record))

    handler = Kept()
    logger = logging.getLogger("gputx.server")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with surface.client() as client:
            files = {"audio": ("hemlig.flac", CLIP.read_bytes())}
            answer = client.post("/transcribe?x=hemligt", files=files, data={"prompt": "hemligheten"})
            assert answer.status_code == httpx.codes.OK
            client.post("/transcribe", files={"audio": ("hemlig.flac", b"hemligt")})
            client.get("/hemlig")
    finally:
        logger.removeHandler(handler)
    written = "".join(lines) + "".join(capfd.readouterr())
    assert len(lines) >= 3
    assert "hemlig" not in written
    assert TOKEN not in written
    for word in answer.json()["transcription"].lower().split():
        if len(word) > 5:
            assert word not in written.lower()
    # The line of an answer is written when it has been sent, so one of the request before may come first.
    said = [json.loads(line) for line in lines]
    told = [
        (line["route"], line["method"], line["status"], line["person"]) for line in said if line["event"] == "request"
    ]
    assert ("/transcribe", "POST", 200, "tests") in told


def test_metrics_count_what_was_done(surface: Surface) -> None:
    with surface.client() as client:
        before = _figures(client)
        assert client.post("/transcribe", files={"audio": CLIP.read_bytes()}).status_code == httpx.codes.OK
        client.post("/transcribe", files={"audio": b"nothing"})
        client.get("/nothing-of-this-name")
        after = _figures(client)

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more("gputx_audio_seconds_total") == pytest.approx(10)
    assert more("gputx_upload_bytes_total") == CLIP.stat().st_size + len(b"nothing")
    assert more('gputx_requests_total{method="POST",route="/transcribe",status="200"}') == 1
    assert more('gputx_requests_total{method="POST",route="/transcribe",status="400"}') == 1
    assert more('gputx_requests_total{method="GET",route="other",status="404"}') == 1
    assert more('gputx_jobs_ended_total{state="done"}') == 1
    assert more("gputx_model_windows_total") >= 1
    assert after["gputx_model_loaded"] == 1
    assert after["gputx_jobs_running"] == after["gputx_queue_seconds"] == 0
    assert not [name for name in after if "nothing-of-this-name" in name]


def _figures(client: httpx.Client) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
