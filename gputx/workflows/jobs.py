"""One job per recording: its audio made ready in the background, its segments gathered as they come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from gputx.clock import Stop
from gputx.errors import AudioError
from gputx.models import FileReport
from gputx.units import duration, size
from gputx.workflows.inputs import Source
from gputx.workflows.story import Story
from gputx_remote import audio
from gputx_remote.errors import AudioUnreadableError
from gputx_remote.transcript import Segment, Transcript


@dataclass
class Job:
    """A recording on its way to a transcript."""

    id: str
    source: Source
    stem: str
    report: FileReport
    expected_seconds: float
    label: str = ""
    """Its name and a colon where a call has several files, for lines that would else not say which."""
    prepared: Future[audio.Prepared] = field(default_factory=Future)
    segments: list[Segment] = field(default_factory=list)
    tries: int = 0

    @property
    def done(self) -> bool:
        return self.report.transcript is not None or self.report.error is not None

    def begin(self) -> None:
        """A worker starts on it, perhaps for the second time: what an earlier one said is forgotten."""
        self.tries += 1
        self.segments.clear()

    def finish(self, *, language: str, duration_ms: int, processing_seconds: float, translated: bool) -> None:
        self.report.transcript = Transcript(tuple(self.segments), language, duration_ms, translated)
        self.report.processing_seconds = processing_seconds

    def fail(self, why: str) -> None:
        self.report.error = why

    def discard_audio(self) -> None:
        """Make room: an archive's decoded audio need not lie on disk until its last file is done."""
        if self.prepared.done() and self.prepared.exception() is None:
            self.prepared.result().path.unlink(missing_ok=True)


def open_jobs(sources: Sequence[Source], stems: Sequence[str]) -> list[Job]:
    """A job for every source; those that can't be read are failed here, before anything is launched."""
    jobs: list[Job] = []
    for number, (source, stem) in enumerate(zip(sources, stems, strict=True)):
        report = FileReport(source.name)
        label = f"{source.name}: " if len(sources) > 1 else ""
        job = Job(f"f{number}", source, stem, report, expected_seconds=0.0, label=label)
        jobs.append(job)
        if source.path is None:
            report.error, report.usage = source.problem, True
            continue
        try:
            job.expected_seconds = (audio.probe(source.path).duration_ms or 0) / 1000
        except AudioUnreadableError as error:
            report.error = str(error)
    return jobs


class Preparation:
    """Decodes recordings one after the other, in a thread, to what goes over the wire: 16 kHz mono FLAC."""

    def __init__(
        self, jobs: Iterable[Job], scratch: Path, story: Story, stop: Stop, channel: audio.Channel | None = None
    ) -> None:
        """``channel``: the one to hear; None mixes all."""
        self._cancelled = False
        self._stop = stop
        self._story = story
        self._scratch = scratch
        self._channel = channel
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audio")
        for job in jobs:
            job.prepared = self._executor.submit(self._prepare, job)

    def close(self) -> None:
        """Give up what has not been begun, and what is being done at its next block."""
        self._cancelled = True
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, job: Job) -> audio.Prepared:
        assert job.source.path is not None  # noqa: S101 - jobs without a path have failed already
        target = self._scratch / f"{job.id}.flac"
        with self._story.phase("audio", job.source.name) as phase:
            try:
                prepared = audio.prepare(job.source.path, target, channel=self._channel, check=self._check)
            except AudioUnreadableError as error:
                raise AudioError(str(error)) from error
            phase.detail = f"{job.label}{duration(prepared.duration_ms / 1000)}, {size(prepared.bytes)} to send"
        if prepared.missing_ms:
            whole = duration((prepared.duration_ms + prepared.missing_ms) / 1000)
            self._story.warn(
                f"{job.source.name}: it says it is {whole} long, but holds only "
                f"{duration(prepared.duration_ms / 1000)}; it may have been cut off"
            )
        if prepared.repaired_samples:
            self._story.warn(f"{job.source.name}: {prepared.repaired_samples} samples were no numbers: silence now")
        if prepared.skipped_frames:
            self._story.warn(f"{job.source.name}: {prepared.skipped_frames} damaged frames were skipped")
        return prepared

    def _check(self) -> None:
        self._stop.check()
        if self._cancelled:
            raise AudioError("given up: the run has ended")
