"""Servers that benchmarks/server.py compares, each started as a process of its own, and how each is asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import peers
import soundfile

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "benchmark-token-0123456789"
PATIENCE = 120.0


@dataclass(frozen=True)
class Server:
    """One that answers."""

    ask: Callable[[Path], str]
    """One request: an audio file to its text. May be called from many threads."""
    pid: int

    def cpu_seconds(self) -> float:
        """Processor time of its process so far (``/proc/PID/stat``): what decodes uploads is another, and small."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def ours(model: Path, running: int) -> Iterator[Server]:
    """This server.

    Args:
        model: a checkpoint.
        running: recordings it transcribes side by side; with 1 the same engine is asked for one after the other.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "gputx_remote", "api", "--model", str(model), "--port", str(port)]
        command += ["--state", state, "--running", str(running), "--device", "cpu"]
        # Every client's own connection, so that none waits for another's.
        with _process(command, GPUTX_TOKEN=TOKEN) as pid, httpx.Client(timeout=None, trust_env=False) as client:
            url = f"http://127.0.0.1:{port}"
            _until(lambda: client.get(f"{url}/health").json().get("model_loaded"))

            def ask(path: Path) -> str:
                answer = client.post(
                    f"{url}/v1/audio/transcriptions",
                    headers={"Authorization": f"Bearer {TOKEN}"},
                    data={"model": "whisper-1", "language": "sv"},
                    files={"file": (path.name, path.read_bytes())},
                )
                answer.raise_for_status()
                return str(answer.json()["text"])

            yield Server(ask, pid)


@contextmanager
def wyoming(python: Path, threads: int) -> Iterator[Server]:
    """wyoming-faster-whisper: faster-whisper behind a socket, with its voice activity detection and no beam, in int8.

    Args:
        python: an interpreter that has the package.
        threads: of CTranslate2.
    """
    port = _free_port()
    command = [str(python), "-m", "wyoming_faster_whisper", "--model", str(peers.converted()), "--language", "sv"]
    command += ["--uri", f"tcp://127.0.0.1:{port}", "--stt-library", "faster-whisper", "--device", "cpu"]
    command += ["--beam-size", "1", "--compute-type", "int8", "--cpu-threads", str(threads), "--vad-filter"]
    with (
        tempfile.TemporaryDirectory() as directory,
        _process([*command, "--data-dir", directory, "--local-files-only"]) as pid,
    ):

        def ask(path: Path) -> str:
            samples, rate = soundfile.read(path, dtype="int16")
            form = {"rate": rate, "width": 2, "channels": 1}
            with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
                _say(connection, "transcribe", {"language": "sv"})
                _say(connection, "audio-start", form)
                for start in range(0, len(samples), rate):
                    _say(connection, "audio-chunk", form, samples[start : start + rate].tobytes())
                _say(connection, "audio-stop", {})
                return _transcript(answers)

        _until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None)
        yield Server(ask, pid)


def _say(connection: socket.socket, kind: str, data: dict[str, Any], payload: bytes = b"") -> None:
    """One event of the Wyoming protocol: a line of JSON, and bytes."""
    header = {"type": kind, "data": data, "payload_length": len(payload)}
    connection.sendall(json.dumps(header).encode() + b"\n" + payload)


def _transcript(answers: Any) -> str:
    while line := answers.readline():
        header = json.loads(line)
        data = header.get("data") or {}
        data |= json.loads(answers.read(header.get("data_length") or 0) or b"{}")
        answers.read(header.get("payload_length") or 0)
        if header["type"] == "transcript":
            return str(data["text"])
    raise RuntimeError("the peer closed the connection without an answer")


@contextmanager
def _process(command: list[str], **environment: str) -> Iterator[int]:
    path = os.pathsep.join((str(ROOT / "remote"), os.environ.get("PYTHONPATH", "")))
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": path, **environment}, stdout=said, stderr=said
        )
        try:
            yield child.pid
        except BaseException:
            said.seek(0)
            print(said.read()[-3000:].decode(errors="replace"), file=sys.stderr)
            raise
        finally:
            child.terminate()
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _until(ready: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (OSError, httpx.HTTPError):
            pass
        time.sleep(0.1)
    raise TimeoutError("the server did not start")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
