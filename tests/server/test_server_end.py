"""How the server ends: what is under way gets a proper answer, and the end comes in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import soundfile
from surface import CLIP, CLIP_TEXT, MODEL, TOKEN
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gputx_remote.__main__ import parser
from gputx_remote.server import logs, run
from gputx_remote.server.engine import SharedEngine
from gputx_remote.worker import ModelOptions

MAIN = "import sys; from gputx_remote.__main__ import main; sys.exit(main(sys.argv[1:]))"
OURS = "from gputx_remote.decoders.ctranslate2_decoder import CTranslate2Decoder as D; old = D.decode\n"
SLOW = f"""{OURS}
def decode(self, encoded, requests):
    if requests[0].max_tokens > 2:  # not what it tries when it is loaded
        import time
        print("turn", file=sys.stderr, flush=True)
        time.sleep(60)
    return old(self, encoded, requests)
D.decode = decode
"""
LOST = f"""{OURS}
from gputx_remote.errors import EngineError
lost = False
def decode(self, encoded, requests):
    global lost
    lost = lost or requests[0].max_tokens > 2
    if lost:
        raise EngineError("an illegal memory access was encountered")
    return old(self, encoded, requests)
D.decode = decode
"""


@dataclass
class Started:
    """A server that is ready."""

    running: subprocess.Popen[str]
    port: int

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60, trust_env=False)

    def until(self, words: str) -> str:
        assert self.running.stderr is not None
        for line in self.running.stderr:
            if words in line:
                return line
        raise AssertionError(f"it ended before {words!r}")


@contextmanager
def _started(state: Path, *arguments: str, before: str = "") -> Iterator[Started]:
    command = [sys.executable, "-c", f"import sys\n{before}\n{MAIN}", "api", "--port", "0", "--device", "cpu"]
    model = ("--model", str(MODEL), "--model-name", "tiny", "--state", str(state))
    running = subprocess.Popen(
        [*command, *model, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"GPUTX_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
    )
    started = Started(running, 0)
    try:
        started.port = int(json.loads(started.until('"listening"'))["url"].rpartition(":")[2])
        started.until('"ready"')
        yield started
    finally:
        running.kill()
        running.communicate()


def _upload(client: httpx.Client) -> httpx.Response:
    """A recording that takes a minute to come."""

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        for _ in range(600):
            yield bytes(1000)
            time.sleep(0.1)

    return client.post("/transcribe", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})


def test_what_is_under_way_gets_its_answer(tmp_path: Path) -> None:
    """A speaker the text so far, and somebody who uploads an error that says to come again."""
    speech, _ = soundfile.read(CLIP, dtype="int16")
    with _started(tmp_path, "--drain", "40") as server, ThreadPoolExecutor(1) as pool, server.client() as client:
        address = f"ws://127.0.0.1:{server.port}/live"
        with connect(address, proxy=None) as socket:
            socket.send(json.dumps({"type": "start", "token": TOKEN, "language": "sv"}))
            assert json.loads(socket.recv())["type"] == "ready"
            uploading = pool.submit(_upload, client)
            while not list(tmp_path.glob("incoming/upload-*")):
                time.sleep(0.02)
            for at in range(0, len(speech), 8_000):
                socket.send(speech[at : at + 8_000].tobytes())
            began = time.monotonic()
            server.running.send_signal(signal.SIGTERM)
            messages: list[dict[str, Any]] = []
            with suppress(ConnectionClosed):
                while True:
                    messages.append(json.loads(socket.recv(timeout=60)))
            assert socket.protocol.close_code == 1012
        assert messages[-1]["type"] == "end"
        assert messages[-1]["text"].lower().startswith(CLIP_TEXT)
        answer = uploading.result(timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["connection"] == "close"
        assert server.running.wait(timeout=60) == 0
        assert time.monotonic() - began < 30, "it waited for the upload, or for its time to be over"


def test_a_turn_that_takes_a_minute_does_not_hold_the_end_up(tmp_path: Path) -> None:
    with _started(tmp_path, "--drain", "5.5", before=SLOW) as server, ThreadPoolExecutor(1) as pool:
        with server.client() as client:
            asked = pool.submit(client.post, "/transcribe", files={"audio": CLIP.read_bytes()})
            server.until("turn")
            began = time.monotonic()
            server.running.send_signal(signal.SIGTERM)
            answer = asked.result(timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "restarting")
        assert server.running.wait(timeout=60) == 0
        assert time.monotonic() - began < 9


def test_a_model_that_broke_ends_the_process_and_loses_no_job(tmp_path: Path) -> None:
    with _started(tmp_path, before=LOST) as server, server.client() as client:
        job = client.post("/transcribe?async=1", files={"audio": CLIP.read_bytes()})
        assert job.status_code == httpx.codes.ACCEPTED
        assert server.running.wait(timeout=60) == 1, "its supervisor would not start it anew"
    with _started(tmp_path) as server, server.client() as client:
        with client.stream("GET", f"{job.headers['location']}/events") as events:
            assert "event: end" in "".join(events.iter_text())
        assert client.get(job.json()["url"] + "/result").text.lower().startswith(CLIP_TEXT)


def test_a_model_that_cannot_be_loaded_in_a_way_nobody_thought_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object) -> SharedEngine:
        raise RuntimeError("CUDA driver initialization failed\nand more of it")

    monkeypatch.setattr(logs, "configure", lambda: None)
    monkeypatch.setattr(SharedEngine, "load", load)
    monkeypatch.setenv("GPUTX_TOKEN", TOKEN)
    options = parser().parse_args(["api", "--port", "0", "--model", "m", "--state", str(tmp_path)])
    assert run.run(ModelOptions("m", device="cpu"), options) == run.UNAVAILABLE
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == ["error: the server can't start: RuntimeError: CUDA driver initialization failed"]


def test_a_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[float] = []
    monkeypatch.setattr(run.Server, "_end_within", lambda _self, seconds: ends.append(seconds))
    monkeypatch.setattr(run.Server, "_drain", lambda _self, _seconds: None)
    service: Any = SimpleNamespace(
        draining=False,
        rooms=object(),
        leaving=SimpleNamespace(set=lambda: None),
        settings=SimpleNamespace(drain_seconds=60.0),
    )
    server = run.Server(run.uvicorn.Config("none"), service, lambda: service.rooms)
    server._loop = SimpleNamespace(call_soon_threadsafe=lambda do: do())  # type: ignore[assignment]
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit, ends) == (False, False, [60.0])
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit, ends) == (True, True, [60.0, run.LAST_MOMENT_SECONDS])
