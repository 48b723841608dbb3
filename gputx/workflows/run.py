"""``gputx run``: recordings in, text out, and nothing left running.

:func:`run` reads what was typed and checks it; :mod:`gputx.workflows.where` has the work done, on instances
(:class:`gputx.workflows.cloud_run.CloudRun` is the life of such a run) or here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from gputx.clock import Stop
from gputx.errors import StillRunningError
from gputx.events import EventStream, PlanMade
from gputx.models import RunReport
from gputx.workflows import inputs, outputs
from gputx.workflows.auto import settled
from gputx.workflows.jobs import open_jobs
from gputx.workflows.naming import run_id
from gputx.workflows.story import Story
from gputx.workflows.where import Where, carry_out
from gputx.workflows.work import RunRequest, Work


def run(request: RunRequest, where: Where, events: EventStream, stop: Stop) -> RunReport:
    """Transcribe everything that was named.

    Returns:
        The report: every input is in it, with its text or with what was wrong. ``ending`` is set where the run as
        a whole ended early (no capacity, a signal), or where the end of an instance could not be confirmed.

    Raises:
        InputError: the output directory can't be written to, or the model's name makes no sense.
        ConfigurationError: ``--on auto`` found no place.
    """
    outputs.check_directory(request.output_dir)
    reports: list[RunReport] = []
    try:
        return _run(request, where, events, stop, reports.append)
    except StillRunningError as error:
        if not reports:
            raise
        (report,) = reports  # its texts are there all the same
        known = report.ending
        report.ending = known.joined(error) if isinstance(known, StillRunningError) else error
        return report


def _run(
    request: RunRequest, where: Where, events: EventStream, stop: Stop, made: Callable[[RunReport], None]
) -> RunReport:
    """Likewise. Raises StillRunningError where that shows when the report, which ``made`` was told of, is filled."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gputx-")))
        sources = inputs.collect(request.arguments, scratch, stop)
        jobs = open_jobs(sources, outputs.stems(sources))
        readable = [job for job in jobs if not job.done]
        if readable:
            where = stack.enter_context(settled(where, events, stop))
        place, clock = stack.enter_context(where.account(needed=bool(readable)))
        story = Story(events, clock)
        report = RunReport(run_id(clock), where.on, clock.time(), dry_run=request.dry_run)
        report.files = [job.report for job in jobs]
        made(report)
        work = Work(request, report, jobs, story, stop)
        for job in jobs:
            if job.done:
                work.tell(job)
        if readable:
            names = tuple(job.source.name for job in readable)
            seconds = sum(job.expected_seconds for job in readable)
            spoken = request.asked.language or "language to be detected"
            story.emit(PlanMade(clock.time(), names, seconds, spoken, where.on))
        carry_out(work, where, place, scratch)
        return report
