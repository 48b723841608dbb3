"""``--on auto`` and ``--on https://…``: which server is used, which is passed over and why, and how its way in ends."""

from __future__ import annotations

import dataclasses
import json
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gputx import config
from gputx.cli import run as command
from gputx.cli.engine import engine
from gputx.clock import Stop, SystemClock
from gputx.errors import ConfigurationError, GputxError, InterruptedBySignal, StillRunningError
from gputx.events import EventStream
from gputx.lease.journal import Journal
from gputx.workflows import auto
from gputx.workflows import run as workflow
from gputx.workflows.api import door as doors
from gputx.workflows.api import tunnel
from gputx.workflows.api.certificate import make
from gputx.workflows.api.servers import Server, Servers
from gputx.workflows.endpoints.addresses import connected
from gputx.workflows.where import Where
from gputx.workflows.work import RunRequest
from gputx.workflows.worker import Asked

CLIP = Path(__file__).parents[3] / "examples" / "held-out" / "clip00.flac"
UNENDED = StillRunningError("i-2 may still run", hint="gputx reap")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPUTX_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(tmp_path / "sandbox"))
    return tmp_path / "state"


def a_server(**more: Any) -> Server:
    fields: dict[str, Any] = {field.name: "" for field in dataclasses.fields(Server) if required(field)}
    fields |= {"run_id": "r1", "instance_id": "i-1", "model": "KBLab/kb-whisper-small", "public": False}
    return Server(**fields | {"certificate": None, "started": 0.0, "until": 9e9, "hourly": None} | more)


def required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def where(tmp_path: Path, **flags: Any) -> Where:
    settings = config.load({"on": "auto", **flags}, environ={}, cwd=tmp_path, user_file=tmp_path / "none.toml")
    return cast(Where, command.where_of(settings, engine(settings, word_timestamps=False)))


@pytest.fixture
def one_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was brought up from here and answers; nothing else does, but this machine."""

    @contextmanager
    def opened(_server: Server, **_options: Any) -> Iterator[Any]:
        @contextmanager
        def client() -> Iterator[None]:
            yield None

        yield SimpleNamespace(client=client)

    @contextmanager
    def place(_on: str, **_options: Any) -> Iterator[Any]:
        yield SimpleNamespace(session=SimpleNamespace(clock=SystemClock()))

    def nobody(_on: str, _where: Where) -> None:
        raise GputxError("no credentials")

    monkeypatch.setattr(auto, "_known", lambda on, _region: [a_server()] if on == "aws" else [])
    monkeypatch.setattr(auto, "_answers", nobody)
    monkeypatch.setattr(auto, "open_place", place)
    monkeypatch.setattr(doors, "opened", opened)
    monkeypatch.setattr(doors, "health", lambda _client: {"model_loaded": True})


@pytest.mark.usefixtures("one_is_up")
@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"decoder": "transformers"}, "a server takes no --decoder"),
        ({"vad_threshold": "0.4", "repeats_threshold": "4"}, "a server takes no --repeats-threshold, --vad-threshold"),
        ({"model": "KBLab/kb-whisper-large"}, "i-1 has the model KBLab/kb-whisper-small, not KBLab/kb-whisper-large"),
    ],
)
def test_auto_passes_over_a_server_that_would_ignore_what_was_asked_for(
    tmp_path: Path, flags: dict[str, Any], why: str
) -> None:
    lines: list[str] = []
    events = EventStream([lambda event: lines.append(getattr(event, "text", ""))])
    with auto.settled(where(tmp_path, auto=("api,aws,local",), **flags), events, Stop()) as found:
        assert (found.on, found.served) == ("local", None)
    assert lines == [f"--on auto: local (api: {why}; aws: no credentials)"]


@pytest.mark.usefixtures("one_is_up")
def test_an_address_in_auto_is_passed_over_likewise(tmp_path: Path) -> None:
    # Nothing listens there: that it is not even asked is what the reason shows.
    asked = where(tmp_path, auto=("http://127.0.0.1:9",), decoder="transformers")
    with pytest.raises(ConfigurationError) as caught, auto.settled(asked, EventStream([]), Stop()):
        pass
    assert caught.value.details == ("http://127.0.0.1:9: a server takes no --decoder",)


def holding(monkeypatch: pytest.MonkeyPatch, ends: BaseException, *, first: bool = False) -> None:
    """Have the tunnel open, be held until it is told to end (or ``first``, not at all), and end like this."""

    class Keeping:
        def __init__(self, *given: Any, **options: Any) -> None:
            self._stop, self._opened = given[-1], options["opened"]

        def hold(self, server: Server, _port: int) -> None:
            if not first:
                self._opened(server, "http://127.0.0.1:9")
                assert self._stop.wait(10)
            raise ends

    monkeypatch.setattr(tunnel, "Keeping", Keeping)


def interrupted(asked: Where) -> None:
    with auto.settled(asked, EventStream([]), Stop()) as found:
        assert found.on == "api"
        raise InterruptedBySignal(signal.SIGINT)


@pytest.mark.usefixtures("one_is_up")
def test_what_may_still_run_is_said_whatever_else_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holding(monkeypatch, UNENDED)
    with pytest.raises(StillRunningError):
        interrupted(where(tmp_path, auto=("api,aws",)))
    holding(monkeypatch, UNENDED, first=True)
    # Nor is it one of the reasons for which the next place is tried.
    asked = where(tmp_path, auto=("api,aws,local",))
    with pytest.raises(StillRunningError), auto.settled(asked, EventStream([]), Stop()):
        pass


@pytest.mark.usefixtures("one_is_up")
def test_recordings_do_not_wait_for_a_tunnel_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holding(monkeypatch, RuntimeError("a bug"), first=True)
    asked = where(tmp_path, auto=("api,aws",))
    with pytest.raises(ConfigurationError) as caught, auto.settled(asked, EventStream([]), Stop()):
        pass
    assert "api: the tunnel failed: RuntimeError: a bug" in caught.value.details


@pytest.mark.parametrize("before", [None, InterruptedBySignal(signal.SIGINT), StillRunningError("i-1 may still run")])
def test_a_run_ends_with_5_and_keeps_its_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: GputxError | None
) -> None:
    @contextmanager
    def settled(given: Where, _events: EventStream, _stop: Stop) -> Iterator[Where]:
        yield given
        raise UNENDED

    def carried_out(work: Any, *_rest: Any) -> None:
        work.report.ending = before

    monkeypatch.setattr(workflow, "settled", settled)
    monkeypatch.setattr(workflow, "carry_out", carried_out)
    request = RunRequest((str(CLIP),), Asked("sv", "transcribe"), tmp_path, ())
    report = workflow.run(request, where(tmp_path, on="local"), EventStream([]), Stop())
    assert [file.input for file in report.files] == [str(CLIP)]
    assert isinstance(report.ending, StillRunningError)
    assert "i-2 may still run" in report.ending.message
    assert ("i-1 may still run" in report.ending.message) == isinstance(before, StillRunningError)


class Answering(BaseHTTPRequestHandler):
    """As little of a server as its health takes."""

    tokens: list[str | None]

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        queue = {"seconds": 0, "rate": 1, "draining": False}
        said = {"model_loaded": True, "queue": queue, "data": [{"id": "tiny"}]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def public(tmp_path: Path) -> Iterator[tuple[str, str, list[str | None]]]:
    """A server by TLS: its address, its certificate, and the tokens it was shown."""
    certificate, key = make("127.0.0.1", run_id="r1", until=SystemClock().time() + 3600)
    (tmp_path / "pem").write_text(certificate + key)
    tokens: list[str | None] = []
    handler = type("Handler", (Answering,), {"tokens": tokens})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}", certificate, tokens
        server.shutdown()
        thread.join(10)


def test_a_public_server_of_ours_is_known_by_its_own_certificate(
    state: Path, public: tuple[str, str, list[str | None]]
) -> None:
    url, certificate, tokens = public
    port = int(url.rpartition(":")[2])
    journal = Journal(state, SystemClock())
    Servers(journal).add(
        a_server(address="127.0.0.1", port=port, public=True, certificate=certificate, token="its own")
    )
    balance = connected([url], token="of another", model=None, note=lambda _: None)
    assert [health.model for health in balance.healths()] == ["tiny"]
    assert set(tokens) == {"Bearer its own"}
    balance.close()
    balance = connected([url], token=None, model="large", note=lambda _: None)
    with pytest.raises(ConfigurationError, match="has the model tiny, not large"):
        balance.healths()
    balance.close()


def test_anothers_certificate_is_trusted_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public: tuple[str, str, list[str | None]]
) -> None:
    url, certificate, tokens = public
    stranger = connected([url], token="mine", model=None, note=lambda _: None)
    with pytest.raises(ConfigurationError, match="not trusted") as caught:
        stranger.healths()
    assert "SSL_CERT_FILE=" in (caught.value.hint or "")
    assert not tokens
    (tmp_path / "its.pem").write_text(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "its.pem"))
    known = connected([url], token="mine", model=None, note=lambda _: None)
    assert [health.model for health in known.healths()] == ["tiny"]
    assert set(tokens) == {"Bearer mine"}
    known.close()
