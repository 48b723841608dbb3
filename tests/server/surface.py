"""A server on loopback, in this process, with the tiny model: what the tests of its HTTP surface talk to."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import soundfile
import uvicorn

from gputx_remote.server import connection
from gputx_remote.server.app import create_app
from gputx_remote.server.auth import Tokens
from gputx_remote.server.decoding import AudioDecoder
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.jobs import Jobs
from gputx_remote.server.limits import Limits
from gputx_remote.server.service import Rooms, Service
from gputx_remote.server.settings import RequestLimits, ServerSettings
from gputx_remote.server.storing import Results

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "gputx" / "sandbox" / "tiny_sv"
CLIP = ROOT / "examples" / "held-out" / "clip00.flac"
CLIP_TEXT = "förslaget väntar"
"""How it begins."""
TOKEN = "a-token-that-opens-the-tests"
OTHER = "another-token-for-the-tests"


@dataclass(frozen=True)
class Surface:
    """Where it listens, and what is behind it."""

    port: int
    service: Service
    state: Path
    loop: asyncio.AbstractEventLoop
    """The one it runs in."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def incoming(self) -> list[Path]:
        """Files of uploads that lie about."""
        return list(self.service.loaded().jobs.incoming.iterdir())

    def client(self, token: str | None = TOKEN, **options: object) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, **options)  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def settled(self) -> list[Path]:
        """The files of uploads that still lie about once everybody had a moment to clean up."""
        deadline = time.monotonic() + 10
        while self.incoming and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.incoming


class _Server(uvicorn.Server):
    """It tells in which loop it runs."""

    loop: asyncio.AbstractEventLoop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)


@contextmanager
def serving(
    engine: SharedEngine,
    state: Path,
    *,
    limits: RequestLimits | None = None,
    room: Limits | None = None,
    results: Results | None = None,
) -> Iterator[Surface]:
    """A server until the block ends.

    Args:
        engine: loaded already.
        state: its directory.
        limits: of requests.
        room: of the queue.
        results: where texts are put, besides.
    """
    room = room or Limits()
    settings = ServerSettings(model="tiny", limits=limits or RequestLimits(), drain_seconds=10.0)
    service = Service(settings, Tokens([("tests", TOKEN), ("others", OTHER)]), results)
    jobs = Jobs(engine, state, room)
    decoder = AudioDecoder(jobs.incoming, room)
    service.rooms = Rooms(engine, jobs, decoder, room)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = connection.config(create_app(service), settings.limits)
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        with httpx.Client(trust_env=False) as client:
            while client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/health").status_code != httpx.codes.OK:
                time.sleep(0.02)
        yield Surface(listener.getsockname()[1], service, state, server.loop)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        jobs.close()
        decoder.close()
        listener.close()
    assert not thread.is_alive()


def wav(path: Path, samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    """Samples as a file."""
    soundfile.write(path, samples, rate, subtype=subtype)
    return path
