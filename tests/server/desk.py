"""A directory of jobs and its processes, with a paper engine: for tests of the queue."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper_engine import PaperEngine

from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.server.job import Job
from gputx_remote.server.jobs import Jobs
from gputx_remote.server.limits import Limits

PATIENCE = 10.0


class Desk:
    """A directory of jobs, and one process after another that keeps it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 1_000_000.0
        self.engine = PaperEngine()
        self.jobs: Jobs = None  # type: ignore[assignment] # opened below
        self.open()

    def open(self, **limits: Any) -> Jobs:
        """A process begins."""
        self.jobs = Jobs(self.engine, self.directory, Limits(**limits), clock=lambda: self.now)  # type: ignore[arg-type]
        return self.jobs

    def submit(self, seconds: float, **more: Any) -> Job:
        """A job of so much audio, a moment later than the one before."""
        self.now += 0.001
        audio = self.jobs.incoming / f"{time.monotonic_ns()}.pcm"
        audio.write_bytes(b"\0\0" * round(16_000 * seconds))
        return self.jobs.submit(audio, seconds, more.pop("options", TranscribeOptions()), **more)

    def files(self, job: Job) -> set[str]:
        return {path.name for path in (self.directory / "jobs" / job.id).glob("*")}


def until(met: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.002)


def ended(desk: Desk, job: Job) -> Job:
    return asyncio.run(asyncio.wait_for(desk.jobs.wait(job), PATIENCE))
