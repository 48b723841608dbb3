"""``gputx bench``: one recording through every decoder of one machine, and what each took for it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gputx.clock import Stop
from gputx.errors import GputxError, InputError
from gputx.events import EventStream, FileFinished, PlanMade
from gputx.models import RunReport
from gputx.workflows import inputs, outputs
from gputx.workflows.bench_contest import Contest
from gputx.workflows.bench_picture import picture
from gputx.workflows.bench_report import BenchReport, Wanted, absent
from gputx.workflows.hosts.survey import NO_BUCKET
from gputx.workflows.jobs import Job, open_jobs
from gputx.workflows.naming import run_id
from gputx.workflows.story import Story
from gputx.workflows.where import Where, carry_out
from gputx.workflows.word_errors import read_reference
from gputx.workflows.work import RunRequest


@dataclass(frozen=True)
class BenchRequest:
    """What was asked for, wherever it runs."""

    request: RunRequest
    """Of the recording; its one argument is the file."""
    wanted: Wanted
    rounds: int
    reference: Path | None
    """A text file with what is said."""


def bench(request: BenchRequest, where: Where, events: EventStream, stop: Stop) -> BenchReport:
    """Measure every contestant.

    Returns:
        The report. ``run.ending`` is set where it ended early (no capacity, a signal, nobody could transcribe it);
        what was measured before is in it all the same.

    Raises:
        InputError: the recording, the reference, the output directory or the model's name is none.
        GputxError: the recording can't be read.
    """
    said = read_reference(request.reference) if request.reference else ()
    directory = request.request.output_dir
    outputs.check_directory(directory)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gputx-")))
        job = _recording(request.request.arguments, scratch, stop)
        # Nothing is kept in S3. So no worker is started from there at boot, either: each contestant has its own.
        where = replace(where, options=replace(where.options, bucket=NO_BUCKET))
        place, clock = stack.enter_context(where.account(needed=True))
        story = Story(events, clock)
        run = RunReport(run_id(clock), where.on, clock.time())
        contest = Contest(
            request.request,
            run,
            [job],
            story,
            stop,
            wanted=request.wanted,
            rounds=request.rounds,
            said=said,
            batch_size=where.options.engine.batch_size,
        )
        spoken = request.request.asked.language or "language to be detected"
        story.emit(PlanMade(clock.time(), (job.source.name,), job.expected_seconds, spoken, where.on))
        carry_out(contest, where, place, scratch)
        report = BenchReport(
            run,
            job.source.name,
            job.expected_seconds,
            request.rounds,
            request.request.asked.language,
            reference=str(request.reference) if request.reference else None,
            reference_words=len(said) or None,
            standings=contest.standings,
        )
        if contest.offer is not None:
            report.machine, report.device = contest.offer.machine, contest.offer.device
            report.absent = absent(contest.offer, request.wanted)
        if job.report.error is not None and run.ending is None:
            run.ending = GputxError(job.report.error)
        if run.ending is None:
            report.picture = outputs.save(picture(report), directory / f"{job.stem}.bench.svg")
            story.emit(FileFinished(clock.time(), job.source.name, None, (str(report.picture),)))
        return report


def _recording(arguments: tuple[str, ...], scratch: Path, stop: Stop) -> Job:
    sources = inputs.collect(arguments, scratch, stop)
    if len(sources) != 1:
        raise InputError(f"a bench takes one recording; {arguments[0]} is {len(sources)}")
    (job,) = open_jobs(sources, outputs.stems(sources))
    if job.report.error is not None:
        kind = InputError if job.report.usage else GputxError
        raise kind(f"{job.source.name}: {job.report.error}")
    return job
