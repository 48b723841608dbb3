"""Texts of jobs under ``s3://BUCKET/results/``, where those of ``gputx run`` are, too.

``results/YYYYMMDD_HHMMSS/WHO/JOB/transcription.txt`` and so on: an instance may write under its own name only
(``iam/instance.json``), which is why WHO is ``aws:userid``. A text that can't be stored is still to be had here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

from gputx_remote import writers
from gputx_remote.server.job import Job, State
from gputx_remote.server.jobs import Jobs
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
        self._stored: set[str] = set()
        self._under_way: set[asyncio.Task[None]] = set()

    def follow(self, jobs: Jobs, job: Job) -> None:
        """Store a job's text once it is done. To be called from the event loop."""
        task = asyncio.get_running_loop().create_task(self._follow(jobs, job))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def urls(self, job: Job) -> dict[str, str]:
        """Addresses of a job's stored texts by format, for whoever has them; empty until they are there."""
        if job.id not in self._stored:
            return {}
        return {name: self._signer.get(self._bucket, self._key(job, f"transcription.{name}")) for name in FORMATS}

    async def settle(self, seconds: float) -> None:
        """Wait for what is being stored; what is not by then is stored by the next process."""
        pending = [task for task in self._under_way if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=seconds)

    async def _follow(self, jobs: Jobs, job: Job) -> None:
        done = await jobs.wait(job)
        if done.state is not State.DONE:
            return
        for pause in (*PAUSES, None):
            try:
                await asyncio.to_thread(self._store, done)
            except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
                log.warning("not stored", extra={"job": job.id, "error": type(error).__name__, "again": pause})
                if pause is None:
                    return
                await asyncio.sleep(pause)
            else:
                self._stored.add(job.id)
                log.info("stored", extra={"job": job.id})
                return

    def _store(self, job: Job) -> None:
        transcript = job.transcript()
        for name, media_type in FORMATS.items():
            text = writers.render(transcript, name)
            self._signer.put(self._bucket, self._key(job, f"transcription.{name}"), text.encode(), media_type)
        metadata = {
            "version": 1,
            "job": job.id,
            "model": self._model,
            "language": job.language,
            "duration": job.duration_ms / 1000,
            "processing_time": round(job.outcome.processing_seconds, 3),
        }
        # Last: whoever sees it finds the rest.
        key = self._key(job, "metadata.json")
        self._signer.put(self._bucket, key, json.dumps(metadata, ensure_ascii=False).encode(), "application/json")

    def _key(self, job: Job, name: str) -> str:
        if self._who is None:
            self._who = self._signer.who()
        moment = datetime.fromtimestamp(job.order.created, UTC)
        return f"{self._prefix}{moment:%Y%m%d_%H%M%S}/{self._who}/{job.id}/{name}"
