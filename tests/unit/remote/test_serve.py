"""A worker behind a socket: loaded once, attached to and left again, and what attach does without one."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from material import Clip

from gputx_remote import attach, serve, worker
from gputx_remote.errors import ModelUnavailableError
from gputx_remote.worker import ModelOptions


class Attached:
    """One ``attach`` process, spoken to line by line."""

    def __init__(self, payload: Path, path: Path, model: Path | str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(payload), "attach", "--socket", str(path), "--model", str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def send(self, **command: Any) -> None:
        self.stdin.write(json.dumps(command).encode() + b"\n")
        self.stdin.flush()

    def until(self, *names: str) -> list[dict[str, Any]]:
        """Events up to and with the first of these names."""
        events = []
        for line in self.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] in names:
                return events
        raise AssertionError(f"the stream ended before {names}: {events}")

    def detach(self) -> int:
        self.stdin.close()
        return self.process.wait(timeout=60)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()


@contextmanager
def serving(payload: Path, path: Path, model: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A ``serve`` process, which ends with the test whatever the test finds."""
    arguments = ["serve", "--socket", str(path), "--model", str(model), "--device", "cpu"]
    serve.starting(path).touch()  # as user-data does
    with subprocess.Popen([sys.executable, "-I", str(payload), *arguments]) as server:
        try:
            yield server
        finally:
            server.terminate()


@pytest.fixture
def attached(payload: Path, path: Path) -> Iterator[Callable[[Path | str], Attached]]:
    """Start ``attach`` processes, which end with the test."""
    with ExitStack() as stack:

        def start(model: Path | str) -> Attached:
            client = Attached(payload, path, model)
            stack.callback(client.end)
            return client

        yield start


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A Unix socket's path must fit into 107 bytes.
    return tmp_path_factory.mktemp("s") / "worker.sock"


def test_clients_come_and_go_and_the_model_stays(
    payload: Path,
    model_path: Path,
    clips: dict[str, Clip],
    path: Path,
    attached: Callable[[Path | str], Attached],
) -> None:
    with serving(payload, path, model_path) as server:
        first = attached(model_path)
        opening = first.until("model")
        assert [event["event"] for event in opening] == ["hello", "model"]
        assert opening[0]["pid"] == server.pid
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not serve.starting(path).exists()

        first.send(op="transcribe", id="1", path=str(clips["clip04"].path), options={"language": "sv"})
        events = first.until("finished", "failed", "fatal")
        heard = " ".join(event["text"] for event in events if event["event"] == "segment")
        assert clips["clip04"].wer(heard) == 0
        assert first.detach() == 0

        second = attached(model_path)
        replayed = second.until("model") + second.until("model")
        assert [event["event"] for event in replayed] == ["hello", "model", "model"]
        assert (replayed[0]["pid"], replayed[-1]["state"]) == (server.pid, "ready")

        # The third waits its turn; the second goes in the middle of its file, without a word.
        third = attached(model_path)
        second.send(op="transcribe", id="2", path=str(clips["clip11"].path), options={"language": "sv"})
        assert second.until("started")[-1]["id"] == "2"
        second.process.kill()
        assert second.detach() == -signal.SIGKILL

        third.send(op="transcribe", id="3", path=str(clips["clip03"].path), options={"language": "sv"})
        events = third.until("finished", "failed", "fatal")
        assert {event["id"] for event in events if "id" in event} == {"3"}
        third.send(op="quit")
        assert third.detach() == 0
        assert server.wait(timeout=60) == 0
    assert list(path.parent.iterdir()) == []


def test_without_a_server_attach_is_a_worker(path: Path, attached: Callable[[Path | str], Attached]) -> None:
    client = attached(path.parent / "no-model")
    events = client.until("fatal")
    assert [event["event"] for event in events] == ["hello", "fatal"]
    assert events[0]["pid"] == client.process.pid
    assert client.detach() == 3


def test_a_socket_left_by_a_dead_server_is_no_server(path: Path, attached: Callable[[Path | str], Attached]) -> None:
    serve.listen(path).close()
    assert path.exists()
    client = attached(path.parent / "no-model")
    assert client.until("hello")[0]["pid"] == client.process.pid
    assert client.until("fatal")
    assert client.detach() == 3


def test_a_server_whose_model_is_missing_says_so_and_leaves_nothing(payload: Path, path: Path) -> None:
    arguments = ["serve", "--socket", str(path), "--model", str(path.parent / "none")]
    done = subprocess.run([sys.executable, "-I", str(payload), *arguments], check=False, timeout=60)
    assert done.returncode == 3
    assert list(path.parent.iterdir()) == []


def test_sigterm_removes_the_socket(
    payload: Path, model_path: Path, path: Path, attached: Callable[[Path | str], Attached]
) -> None:
    with serving(payload, path, model_path) as server:
        client = attached(model_path)
        client.until("hello")
        server.terminate()
        assert server.wait(timeout=60) == 128 + signal.SIGTERM
        assert client.process.wait(timeout=60) == 1, "a server that went away is no good ending"
    assert list(path.parent.iterdir()) == []


def test_a_second_server_does_not_take_the_socket(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve.listen(path):
        assert serve.run(ModelOptions("none"), path) == 1
        assert path.exists()
    assert "already listening" in capsys.readouterr().err


def test_attach_waits_for_a_server_that_is_being_prepared(path: Path) -> None:
    serve.starting(path).touch()
    found: list[socket.socket | None] = []
    waiting = threading.Thread(target=lambda: found.append(attach._connect(path, 10)))
    waiting.start()
    with serve.listen(path):
        waiting.join()
        (client,) = found
        assert client is not None
        client.close()


def test_attach_does_not_wait_for_ever(path: Path) -> None:
    serve.starting(path).touch()
    assert attach._connect(path, patience=0.05) is None


@pytest.fixture
def pipes() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_attach_adds_no_delay_worth_speaking_of(
    path: Path, pipes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte through the pump and back: the median of 200 trips stays below 5 ms on a busy machine."""
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading, "r"))
    monkeypatch.setattr(sys, "stdout", os.fdopen(pipes[1], "w", closefd=False))
    with serve.listen(path) as listener:
        client = attach._connect(path, 1)
        assert client is not None
        server, _ = listener.accept()
        pump = threading.Thread(target=attach._Pump(client).run)
        pump.start()
        trips = []
        for _ in range(200):
            begun = time.perf_counter()
            os.write(writing, b"{}\n")
            assert server.recv(100) == b"{}\n"
            server.sendall(b"{}\n")
            assert os.read(pipes[0], 100) == b"{}\n"
            trips.append(time.perf_counter() - begun)
        os.close(writing)
        server.close()
        pump.join()
        client.close()
    sys.stdin.close()
    assert sorted(trips)[100] < 0.005


def test_a_client_gone_while_loading_does_not_stop_the_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = threading.Event()

    def load(_: ModelOptions, emit: Any) -> Any:
        assert reached.wait(10)
        for _ in range(3):
            emit("note", text="still loading")
        raise ModelUnavailableError("none")

    monkeypatch.setattr(worker, "load", load)
    status: list[int] = []
    server = threading.Thread(target=lambda: status.append(serve.run(ModelOptions("m"), path)))
    serve.starting(path).touch()
    server.start()
    client = attach._connect(path, 10)
    assert client is not None
    assert json.loads(client.recv(1000).splitlines()[0])["event"] == "hello"
    client.close()
    reached.set()
    server.join(timeout=10)
    assert status == [3]
