"""``gputx api serve``: the server on this machine, by TLS with a certificate that its client has pinned."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import SHORT_TEXT, short
from product import Cli, descendants, wer

from gputx.workflows.api.certificate import make
from gputx.workflows.api.door import pinned
from gputx.workflows.api.serve import ServeRequest, announce
from gputx.workflows.model import ModelChoice
from gputx_remote.server.seized import seized

TOKEN = "a-token-of-forty-characters-and-some-more"


@dataclass
class Serving:
    url: str
    certificate: str
    err: Path


@pytest.fixture
def serving(cli: Cli) -> Iterator[Serving]:
    """A server as a person starts it; a Ctrl-C ends it and its process."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    certificate, key = make("127.0.0.1", run_id="test", until=time.time() + 3600)
    (cli.directory / "tls.crt").write_text(certificate)
    (cli.directory / "tls.key").write_text(key)
    cli.environ["GPUTX_TOKEN"] = TOKEN
    tls = ("--tls-cert", "tls.crt", "--tls-key", "tls.key")
    with (cli.directory / "err").open("w") as err:
        process = cli.start("api", "serve", "--port", str(port), "--model", cli.account.model, *tls, stderr=err)
    try:
        url = f"https://127.0.0.1:{port}"
        with httpx.Client(verify=pinned(certificate), trust_env=False) as client:
            deadline = time.monotonic() + 60
            while True:
                assert time.monotonic() < deadline
                assert process.poll() is None, (cli.directory / "err").read_text()
                try:
                    if client.get(f"{url}/health").json().get("model_loaded"):
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
        yield Serving(url, certificate, cli.directory / "err")
    finally:
        children = [pid for pid, _ in descendants(process.pid)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)
    assert process.returncode in (0, 143)
    assert children
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_it_serves_who_has_the_token_and_the_certificate(serving: Serving) -> None:
    form = {"audio": ("clip.wav", short())}
    with httpx.Client(base_url=serving.url, verify=pinned(serving.certificate), trust_env=False, timeout=60) as client:
        assert client.post("/transcribe", files=form).status_code == 401
        answer = client.post("/transcribe", files=form, headers={"Authorization": f"Bearer {TOKEN}"})
    assert wer(SHORT_TEXT, answer.json()["transcription"]) <= 0.10
    another, _ = make("127.0.0.1", run_id="other", until=time.time() + 3600)
    for context in (pinned(another), ssl.create_default_context()):
        with httpx.Client(verify=context, trust_env=False) as stranger, pytest.raises(httpx.ConnectError):
            stranger.get(f"{serving.url}/health")
    said = serving.err.read_text()
    assert serving.url in said
    assert "that in GPUTX_TOKEN" in said
    assert TOKEN not in said


def test_another_server_s_state_is_left_alone(cli: Cli) -> None:
    state = cli.directory / "of-the-other"
    cli.environ["GPUTX_STATE_DIR"] = str(state)
    with seized(state / "server"):
        ended = cli("api", "serve", "--model", cli.account.model, code=3)
    assert f"another server keeps its jobs in {state / 'server'}" in ended.err
    assert "GPUTX_STATE_DIR" in ended.err
    assert "token" not in ended.err


def test_the_example_works_as_typed() -> None:
    def said(made: str | None, **more: Any) -> str:
        fields: dict[str, Any] = {"host": "127.0.0.1", "port": 8000, "tls_cert": None, "tls_key": None} | more
        request = ServeRequest(model=ModelChoice("m", "m", None), state=Path("s"), token=None, **fields)
        return announce(request, made).splitlines()[-1].strip()

    call = "-F audio=@intervju.mp3 http"
    assert said("t0k") == f'curl -H "Authorization: Bearer t0k" {call}://127.0.0.1:8000/transcribe'
    assert said(None, host="::1") == f'curl -H "Authorization: Bearer $GPUTX_TOKEN" {call}://[::1]:8000/transcribe'
    assert said("t", tls_cert="my c.pem", tls_key="k").startswith("curl --cacert 'my c.pem' -H")


def test_half_a_certificate_is_none(cli: Cli) -> None:
    (cli.directory / "tls.crt").write_text("")
    ended = cli("api", "serve", "--model", cli.account.model, "--tls-cert", "tls.crt", code=3)
    assert "a certificate and its key go together" in ended.err
