"""What the tests of ``gputx api`` share: a tunnel that is held open, requests, and the server's processes."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import soundfile
from product import CLIP, Cli, descendants

PATIENCE_SECONDS = 120.0
SHORT_TEXT = "Flickan har hosta."
"""What is said in the first seconds of the clip."""


@functools.cache
def short() -> bytes:
    """The first 3.5 s of the clip, as WAV: many of them at once are soon done."""
    samples, rate = soundfile.read(CLIP, dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, samples[: round(3.5 * rate)], rate, format="WAV")
    return file.getvalue()


def until(true: Callable[[], bool], what: str) -> None:
    """Wait in real time: processes start and end in it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def turn(cli: Cli, minutes: int) -> None:
    """Let time pass a minute at a time: a longer turn may skip what a busy guest does often."""
    for _ in range(minutes):
        cli.account.advance(60)


class Held:
    """A ``gputx api tunnel`` that runs, and a client through it."""

    def __init__(self, process: subprocess.Popen[str], token: str) -> None:
        assert process.stderr is not None
        self.process = process
        self.lines: list[str] = []
        self.urls: list[str] = []
        self._token = token
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()
        until(lambda: bool(self.urls) or process.poll() is not None, "no tunnel")
        assert self.urls, self.lines
        self.client = httpx.Client(
            base_url=self.urls[0], headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )

    def ask(self, **options: Any) -> httpx.Response:
        return self.client.post("/transcribe", files={"audio": ("clip01.wav", short())}, **options)

    def _read(self, stream: Any) -> None:
        with contextlib.suppress(ValueError):
            for line in stream:
                self.lines.append(line)
                self.urls += re.findall(r"(http://127\.0\.0\.1:\d+) leads to", line)


@contextlib.contextmanager
def held(cli: Cli, *options: str) -> Iterator[Held]:
    """A tunnel for a block; a Ctrl-C ends it."""
    token = cli("api", "token").out.strip()
    process = cli.start("api", "tunnel", "--port", "0", *options)
    try:
        way = Held(process, token)
        with way.client:
            yield way
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        code = process.wait(30)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    assert code in (130, 1), way.lines


def server_pids(cli: Cli) -> list[int]:
    """The server's own processes, by what they were started as."""
    return [pid for pid, command in descendants(cli.account.pid) if re.search(r"payload-\w+\.pyz api ", command)]


def kill_server(cli: Cli) -> None:
    """As the kernel would for want of memory."""
    for pid in server_pids(cli):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def answers(way: Held) -> bool:
    with contextlib.suppress(httpx.HTTPError, ValueError):
        return bool(way.client.get("/health", timeout=5).json().get("model_loaded"))
    return False
