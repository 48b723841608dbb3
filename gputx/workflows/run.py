"""``gputx run``: recordings in, text out, and nothing left running.

:func:`run` reads what was typed and checks it; :class:`gputx.workflows.cloud_run.CloudRun` is the life of a run on
instances; :func:`_run_here` is the same without a cloud.
"""

from __future__ import annotations

import secrets
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gputx.clock import Clock, Stop, SystemClock
from gputx.errors import GputxError
from gputx.events import EventStream, PlanMade
from gputx.models import DEFAULT_MODEL, RunReport
from gputx.workflows import inputs, outputs
from gputx.workflows.cloud_run import CloudRun
from gputx.workflows.hosts.cloud import CloudHost
from gputx.workflows.hosts.local import LocalBench
from gputx.workflows.hosts.survey import CloudOptions
from gputx.workflows.jobs import Preparation, open_jobs
from gputx.workflows.model import ModelChoice, Pins, choose
from gputx.workflows.place import open_place
from gputx.workflows.story import Story
from gputx.workflows.work import RunRequest, Work


@dataclass(frozen=True)
class Where:
    """The place of a run: ``on`` is "aws", "sandbox" or "local"."""

    on: str
    region: str
    profile: str | None
    options: CloudOptions
    pins: Pins


def run(request: RunRequest, where: Where, events: EventStream, stop: Stop) -> RunReport:
    """Transcribe everything that was named.

    Returns:
        The report: every input is in it, with its text or with what was wrong. ``ending`` is set where the run as
        a whole ended early (no capacity, a signal), or where the end of an instance could not be confirmed.

    Raises:
        InputError: the output directory can't be written to, or the model's name makes no sense.
    """
    outputs.check_directory(request.output_dir)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gputx-")))
        sources = inputs.collect(request.arguments, scratch, stop)
        jobs = open_jobs(sources, outputs.stems(sources))
        readable = [job for job in jobs if not job.done]
        here = where.on == "local"
        clock: Clock = SystemClock()
        place = None
        if readable and not here:
            place = stack.enter_context(open_place(where.on, region=where.region, profile=where.profile))
            clock = place.session.clock
        story = Story(events, clock)
        report = RunReport(_run_id(clock), where.on, clock.time(), dry_run=request.dry_run)
        report.files = [job.report for job in jobs]
        work = Work(request, report, jobs, story, stop)
        for job in jobs:
            if job.done:
                work.tell(job)
        if readable:
            names = tuple(job.source.name for job in readable)
            seconds = sum(job.expected_seconds for job in readable)
            story.emit(PlanMade(clock.time(), names, seconds, request.language, where.on))
        # On an instance the default is the model of its image.
        asked = where.options.model or (DEFAULT_MODEL if here else None)
        model = choose(asked, where.pins, elsewhere=not here) if asked else None
        try:
            if place is not None:
                CloudRun(work, CloudHost(place, where.options, model, story, stop), scratch).run()
            elif model and readable and not request.dry_run:
                _run_here(work, model, scratch)
        except GputxError as error:
            report.ending = error
        if model and model.from_hub and report.model_revision:
            try:
                where.pins.record(model.name, report.model_revision)
            except (OSError, GputxError) as error:
                # What the run came to, and what may still run, is worth more than the pin.
                story.warn(f"the model's revision could not be recorded: {error}")
        report.phases = story.phases
    return report


def _run_here(work: Work, model: ModelChoice, scratch: Path) -> None:
    """The same worker as a child process; nothing to launch and nothing to end."""
    bench = LocalBench(model, work.stop)
    preparation = Preparation(work.outstanding, scratch, work.story, work.stop)
    try:
        work.transcribe(bench)
    finally:
        preparation.close()
        work.keep_partial_text()


def _run_id(clock: Clock) -> str:
    """Sortable by time, unique enough to name AWS resources: 20261120-141503-7f3a9c."""
    return f"{datetime.fromtimestamp(clock.time(), UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
