"""What the routes share: who may ask, the rooms behind them once the model is loaded, and how much each may take."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server.auth import Person, Tokens
from gputx_remote.server.decoding import AudioDecoder
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.errors import RESTART_SECONDS, RefusedError, retry_after
from gputx_remote.server.job import Job
from gputx_remote.server.jobs import Jobs
from gputx_remote.server.limits import Limits
from gputx_remote.server.live import Live
from gputx_remote.server.logs import log
from gputx_remote.server.memory_use import EVERY_SECONDS, MemoryUse
from gputx_remote.server.metrics import Metrics
from gputx_remote.server.once import Once
from gputx_remote.server.settings import ServerSettings
from gputx_remote.server.shapes import JobShape
from gputx_remote.server.storing import Results

T = TypeVar("T")

LOADING_SECONDS = 5.0
"""When to ask again while the model is being loaded."""
TOUCH_SECONDS = 1.0


@dataclass(frozen=True)
class Rooms:
    """What there is once the model is loaded."""

    engine: SharedEngine
    jobs: Jobs
    decoder: AudioDecoder
    limits: Limits

    def live(self, options: TranscribeOptions) -> Live:
        """A live session."""
        return Live(self.engine, options)

    def close(self) -> None:
        """End what is left to end; blocks for a moment."""
        self.jobs.close()
        self.decoder.close()
        self.engine.close()


class Service:
    """One server's state. Used from the event loop only."""

    def __init__(self, settings: ServerSettings, tokens: Tokens, results: Results | None = None) -> None:
        """
        Args:
            settings: what it was told.
            tokens: whom it answers.
            results: where texts of jobs are put, besides.
        """
        self.settings = settings
        self.tokens = tokens
        self.results = results
        self.metrics = Metrics()
        self.memory = MemoryUse()
        self.rooms: Rooms | None = None
        self.draining = False
        self.failing = False
        """The model is broken, so that the server ends to be started anew; it is draining, too."""
        self.leaving = asyncio.Event()
        """Set when it begins to drain."""
        self.started = int(time.time())
        """Seconds since 1970."""
        self.once = Once()
        self.live: Counter[str] = Counter()
        """Live sessions by owner."""
        self._slots: Counter[str] = Counter()
        self._touched = 0.0

    def open(self) -> Rooms:
        """What new work needs.

        Raises:
            RefusedError: 503, there is no model yet, or the server is about to end.
        """
        if self.draining:
            raise self.ending()
        return self.loaded()

    def ending(self) -> RefusedError:
        """The refusal of whatever comes too late."""
        if self.failing:
            message = "the model failed and the server is being started anew; try again in a moment"
            return RefusedError(503, "restarting", message, headers=retry_after(RESTART_SECONDS))
        wait = retry_after(self.settings.drain_seconds)
        message = "the server is about to end and takes nothing new; try later"
        return RefusedError(503, "draining", message, headers=wait)

    async def unless_leaving(self, work: Coroutine[Any, Any, T]) -> T:
        """What work comes to. It is cancelled where the server begins to drain before.

        Raises:
            RefusedError: 503, it does; the connection is closed, since more of the request may be on its way.
        """
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self.leaving.wait())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            refusal = self.ending()
            refusal.headers |= {"Connection": "close"}
            raise refusal
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    def loaded(self) -> Rooms:
        """What questions about old work need.

        Raises:
            RefusedError: 503, there is no model yet.
        """
        if self.rooms is None:
            wait = retry_after(LOADING_SECONDS)
            raise RefusedError(503, "loading", "the model is still being loaded; try again in a moment", headers=wait)
        return self.rooms

    def opened(self, rooms: Rooms) -> None:
        """There is a model now. Jobs that an earlier process left, or had no time to store, are followed again."""
        self.rooms = rooms
        if self.results is not None:
            for job in rooms.jobs.list():
                if not job.order.attached:
                    self.results.follow(rooms.jobs, job)

    async def shape(self, job: Job) -> JobShape:
        """A job as an answer has it. In a thread where addresses are to be signed, which may need new credentials."""
        stored: dict[str, str] = {}
        if self.results is not None:
            try:
                stored = await asyncio.to_thread(self.results.urls, job)
            except OSError as error:
                log.warning("not signed", extra={"job": job.id, "error": type(error).__name__})
        return JobShape.of(job, self.settings.model, stored)

    @contextmanager
    def slot(self, person: Person) -> Iterator[None]:
        """One of the requests that a token may have under way at once.

        Raises:
            RefusedError: 429, it has as many as it may.
        """
        most = self.settings.limits.requests_per_token
        if self._slots[person.owner] >= most:
            message = f"this token has {most} requests under way, which is as many as it may; wait for one to end"
            raise RefusedError(429, "too_many_requests", message, headers=retry_after(1))
        with _counted(self._slots, person.owner):
            yield

    @contextmanager
    def live_session(self, person: Person) -> Iterator[None]:
        """One of the live sessions that a token may have at once.

        Raises:
            RefusedError: 429, it has as many as it may.
        """
        most = self.settings.limits.live_per_token
        if self.live[person.owner] >= most:
            message = f"this token has {most} live sessions, which is as many as it may"
            raise RefusedError(429, "too_many_sessions", message)
        if self.live.total() >= self.loaded().limits.live:
            raise RefusedError(429, "too_many_sessions", "as many live sessions as there may be; try later")
        with _counted(self.live, person.owner):
            yield

    async def quiet(self, seconds: float) -> None:
        """Wait until no live session is left, so long at most."""
        until = time.monotonic() + seconds
        while self.live.total() and time.monotonic() < until:
            await asyncio.sleep(0.05)

    @property
    def busy(self) -> bool:
        """Whether anybody waits for anything, or will come back for it."""
        rooms = self.rooms
        at_work = rooms is not None and (rooms.jobs.running or rooms.jobs.waiting)
        return bool(at_work or self._slots or self.live.total())

    def touch(self) -> None:
        """Note that the server is used."""
        path = self.settings.idle_file
        if path is None or time.monotonic() - self._touched < TOUCH_SECONDS:
            return
        self._touched = time.monotonic()
        try:
            path.touch()
        except OSError as error:
            # Whoever reads it will think that nobody is here; those who are get their answers all the same.
            log.error("idle file", extra={"errno": error.errno})

    async def watch_memory(self) -> None:
        """Keep what /health says of memory fresh. Runs until it is cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.memory.look, self.rooms.engine.device if self.rooms else "cpu")
            except Exception as error:  # noqa: BLE001 - a GPU that failed says so in whatever way its library has
                log.warning("memory can't be looked at", extra={"error": type(error).__name__})
            await asyncio.sleep(EVERY_SECONDS)

    async def keep_awake(self, every: float = 5.0) -> None:
        """Note it as long as there is work, whoever waits for it. Runs until it is cancelled."""
        while True:
            if self.busy:
                self.touch()
            await asyncio.sleep(every)


@contextmanager
def _counted(under_way: Counter[str], owner: str) -> Iterator[None]:
    """One more of an owner's, for a block; whoever has none is not kept in mind."""
    under_way[owner] += 1
    try:
        yield
    finally:
        under_way[owner] -= 1
        if not under_way[owner]:
            del under_way[owner]
