"""Texts of jobs under ``s3://BUCKET/results/``, where those of ``gputx run`` are, too.

``results/YYYYMMDD_HHMMSS/WHO/JOB/transcription.txt`` and so on: an instance may write under its own name only
(``iam/instance.json``), which is why WHO is ``aws:userid``. A text that can't be stored is still to be had here.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

from gputx_remote import writers
from gputx_remote.server.job import Job, State
from gputx_remote.server.jobs import Jobs, NoSuchJobError
from gputx_remote.server.logs import log
from gputx_remote.server.s3 import Signer

FORMATS: Mapping[str, str] = {
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}
PAUSES = (1.0, 5.0, 20.0, 60.0)
"""Seconds between attempts."""
AT_ONCE = 2
"""Texts being stored, in threads of their own: an S3 that is silent holds up no upload and no end of the process."""


class Results:
    """Where texts are put."""

    def __init__(self, address: str, signer: Signer, model: str) -> None:
        """
        Args:
            address: ``s3://BUCKET/PREFIX``.
            signer: signs with the machine's role.
            model: what metadata calls it.

        Raises:
            ValueError: the address is none.
        """
        place = urlsplit(address)
        if place.scheme != "s3" or not place.netloc or place.query or place.fragment:
            raise ValueError(f"--results {address!r} is no s3://BUCKET/PREFIX")
        self._bucket = place.netloc
        prefix = place.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._signer = signer
        self._model = model
        self._who: str | None = None
        self._places = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[asyncio.Task[None], Job] = {}

    def follow(self, jobs: Jobs, job: Job) -> None:
        """Store a job's text once it is done. To be called from the event loop."""
        task = asyncio.get_running_loop().create_task(self._follow(jobs, job))
        self._under_way[task] = job
        task.add_done_callback(self._under_way.pop)

    def urls(self, job: Job) -> dict[str, str]:
        """Addresses of a job's stored texts by format, for whoever has them; empty until they are there."""
        if not job.stored:
            return {}
        place = urlsplit(job.stored)
        folder = place.path.removeprefix("/")
        return {name: self._signer.get(place.netloc, f"{folder}transcription.{name}") for name in FORMATS}

    async def settle(self, seconds: float) -> None:
        """Wait for what is being stored; what is not by then is stored by the next process."""
        pending = [task for task, job in self._under_way.items() if job.state.ended and not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=seconds)
        for task in [*self._under_way]:
            task.cancel()

    async def _follow(self, jobs: Jobs, job: Job) -> None:
        done = await jobs.wait(job)
        for pause in (*PAUSES, None):
            if done.state is not State.DONE or done.stored or not _wanted(jobs, job):
                return
            try:
                async with self._places:
                    folder = await _in_a_thread(lambda: self._store(jobs, done))
                if folder is not None:
                    jobs.stored(job, folder)
                    log.info("stored", extra={"job": job.id})
            except (OSError, ValueError, KeyError, ElementTree.ParseError, http.client.HTTPException) as error:
                log.warning("not stored", extra={"job": job.id, "error": type(error).__name__, "again": pause})
                if pause is not None:
                    await asyncio.sleep(pause)

    def _store(self, jobs: Jobs, job: Job) -> str | None:
        """The folder with its text; None where the job was taken away meanwhile."""
        folder = self._folder(job)
        transcript = job.transcript()
        for name, media_type in FORMATS.items():
            if not _wanted(jobs, job):
                return None
            text = writers.render(transcript, name)
            self._signer.put(self._bucket, f"{folder}transcription.{name}", text.encode(), media_type)
        metadata = {
            "version": 1,
            "job": job.id,
            "model": self._model,
            "language": job.language,
            "duration": job.duration_ms / 1000,
            "processing_time": round(job.outcome.processing_seconds, 3),
        }
        # Last: whoever sees it finds the rest.
        data = json.dumps(metadata, ensure_ascii=False).encode()
        self._signer.put(self._bucket, f"{folder}metadata.json", data, "application/json")
        return f"s3://{self._bucket}/{folder}"

    def _folder(self, job: Job) -> str:
        if self._who is None:
            self._who = self._signer.who()
        moment = datetime.fromtimestamp(job.order.created, UTC)
        return f"{self._prefix}{moment:%Y%m%d_%H%M%S}/{self._who}/{job.id}/"


def _wanted(jobs: Jobs, job: Job) -> bool:
    """Whether nobody has taken it away."""
    try:
        return jobs.get(job.id) is job
    except NoSuchJobError:
        return False


async def _in_a_thread(work: Callable[[], str | None]) -> str | None:
    """What a function returns, from a thread that nothing waits for when the process ends, unlike an executor's."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[str | None] = loop.create_future()

    def tell(result: str | None, error: Exception | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            failed = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, result, failed)

    threading.Thread(target=run, name="storing", daemon=True).start()
    return await outcome
