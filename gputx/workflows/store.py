"""Results in S3, put there by the client: transcripts as soon as the text is whole, metadata at the very end.

``results/YYYYMMDD_HHMMSS/transcription.txt`` and ``metadata.json``, and the other formats asked for; with
several files a folder for each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from gputx.aws import storage
from gputx.aws.session import AwsSession
from gputx.models import RunReport
from gputx.workflows.documents import metadata
from gputx.workflows.jobs import Job
from gputx_remote import writers


class Shelf:
    """One run's folder in the bucket. It is claimed with the first object, so that no two runs share it."""

    def __init__(
        self, session: AwsSession, bucket: str, formats: Sequence[str], options: writers.WriterOptions | None = None
    ) -> None:
        self._session = session
        self._bucket = bucket
        # transcription.txt is always there; other formats where they were asked for.
        self._formats = tuple(dict.fromkeys(("txt", *formats)))
        self._options = options
        self._prefix: str | None = None

    @property
    def address(self) -> str | None:
        """The folder as s3://…/, once it holds something."""
        return f"s3://{self._bucket}/{self._prefix}" if self._prefix else None

    def put_transcripts(self, jobs: Sequence[Job], *, when: float) -> None:
        """Store every transcript there is. ``when`` (seconds since the epoch) names the folder. Raises AwsError."""
        for job in jobs:
            transcript = job.report.transcript
            if transcript is None:
                continue
            for format_ in self._formats:
                name = f"{self._folder(job, jobs)}transcription.{format_}"
                body = writers.render(transcript, format_, self._options, title=job.source.title).encode()
                if self._prefix is None:
                    self._prefix = storage.claim_folder(
                        self._session, self._bucket, when=when, first_key=name, body=body
                    )
                    job.report.s3.append(f"s3://{self._bucket}/{self._prefix}{name}")
                else:
                    job.report.s3.append(storage.put(self._session, self._bucket, self._prefix + name, body))

    def put_metadata(self, report: RunReport, jobs: Sequence[Job]) -> None:
        """Store what is known of each stored transcript, cost and phase times included. Raises AwsError."""
        if self._prefix is None:
            return
        for job in jobs:
            if job.report.transcript is not None:
                key = f"{self._prefix}{self._folder(job, jobs)}metadata.json"
                body = json.dumps(metadata(report, job.report), ensure_ascii=False, indent=2).encode()
                job.report.s3.append(storage.put(self._session, self._bucket, key, body))

    @staticmethod
    def _folder(job: Job, jobs: Sequence[Job]) -> str:
        return f"{job.stem}/" if len(jobs) > 1 else ""
