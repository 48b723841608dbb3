"""What a run does wherever it runs: jobs being prepared, texts written as they come, a report being filled."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.events import FileFinished
from gputx.models import RunReport
from gputx.workflows import outputs
from gputx.workflows.hosts import Bench
from gputx.workflows.jobs import Job
from gputx.workflows.story import Story
from gputx.workflows.transcription import Transcription
from gputx.workflows.worker import Asked
from gputx_remote.audio import Channel
from gputx_remote.writers import SUBTITLES, WriterOptions, lacks_words


@dataclass(frozen=True)
class RunRequest:
    """What was asked for, wherever it runs."""

    arguments: tuple[str, ...]
    asked: Asked
    output_dir: Path
    formats: tuple[str, ...]
    dry_run: bool = False
    writing: WriterOptions = field(default_factory=WriterOptions)
    """How subtitles are cut."""
    channel: Channel | None = None
    """left, right or a number from 1; None mixes all."""


@dataclass
class Work:
    """The jobs of one run and what becomes of them."""

    request: RunRequest
    report: RunReport
    jobs: list[Job]
    story: Story
    stop: Stop

    @property
    def outstanding(self) -> list[Job]:
        return [job for job in self.jobs if not job.done]

    def transcribe(self, bench: Bench) -> None:
        """Get what is outstanding through workers on ``bench``; each text is on disk as soon as it is whole.

        Raises what :meth:`gputx.workflows.transcription.Transcription.run` raises.
        """
        task = Transcription(
            bench,
            self.outstanding,
            self.request.asked,
            self.story,
            self._finish,
        )
        loaded = task.run()
        self.report.model, self.report.model_revision = loaded.model, loaded.revision
        self.report.device = loaded.device

    def fail(self, job: Job, why: str) -> None:
        job.fail(why)
        self.tell(job)

    def tell(self, job: Job) -> None:
        """Say what became of a job."""
        written = tuple(str(path) for path in job.report.outputs)
        self.story.emit(FileFinished(self.story.clock.time(), job.source.name, job.report.error, written))

    def keep_partial_text(self) -> None:
        """Keep what was heard of files that were not finished, under a name that says so."""
        for job in self.jobs:
            if job.segments and job.report.transcript is None:
                text = "".join(segment.text + "\n" for segment in job.segments)
                try:
                    path = outputs.save(text, self.request.output_dir / f"{job.stem}.partial.txt")
                except GputxError as error:
                    self.story.warn(error.message)
                else:
                    self.story.note(f"{job.source.name}: {len(job.segments)} segments kept in {path}")

    def _finish(self, job: Job) -> None:
        report = job.report
        if report.transcript is not None:
            if set(SUBTITLES) & set(self.request.formats) and lacks_words(report.transcript, self.request.writing):
                self.story.warn(
                    f"{job.source.name}: it came without word times; its subtitles are cut by length of text"
                )
            try:
                report.outputs += outputs.write(
                    report.transcript,
                    directory=self.request.output_dir,
                    stem=job.stem,
                    chosen=self.request.formats,
                    options=self.request.writing,
                    title=job.source.title,
                )
            except GputxError as error:
                report.error = error.message
        job.discard_audio()
        self.tell(job)
