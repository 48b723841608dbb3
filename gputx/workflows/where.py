"""Where work is done: on instances of an account, or here. Nothing of what the work is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gputx.clock import Clock, SystemClock
from gputx.errors import GputxError
from gputx.models import DEFAULT_MODEL
from gputx.workflows.cloud_run import CloudRun
from gputx.workflows.hosts import Bench
from gputx.workflows.hosts.cloud import CloudHost
from gputx.workflows.hosts.local import LocalBench
from gputx.workflows.hosts.survey import CloudOptions
from gputx.workflows.jobs import Preparation
from gputx.workflows.model import ModelChoice, Pins, choose
from gputx.workflows.place import Place, open_place
from gputx.workflows.work import Work

if TYPE_CHECKING:
    from gputx.workflows.endpoints.balance import Balance


@dataclass(frozen=True)
class Where:
    """The place of a run: ``on`` is "aws", "sandbox", "local", the addresses of servers, or "auto".

    The last two are settled by :func:`gputx.workflows.auto.settled` before anything else.
    """

    on: str
    region: str
    profile: str | None
    options: CloudOptions
    pins: Pins
    auto: tuple[str, ...] = ()
    """What "auto" tries, in this order."""
    not_for_servers: tuple[str, ...] = ()
    """What was asked for that a server settles for itself, as it was written: "auto" passes servers over then."""
    token: str | None = field(default=None, repr=False)
    """For servers at an address."""
    served: Balance | None = None
    """Servers that the work is sent to."""

    @property
    def here(self) -> bool:
        return self.on == "local"

    @contextmanager
    def account(self, *, needed: bool) -> Iterator[tuple[Place | None, Clock]]:
        """The account that work is done in, None where it is done here or not ``needed``; and the clock to go by."""
        if self.here or self.served is not None or not needed:
            yield None, SystemClock()
            return
        with open_place(self.on, region=self.region, profile=self.profile) as place:
            yield place, place.session.clock


def carry_out(work: Work, where: Where, place: Place | None, scratch: Path) -> None:
    """Do the work where it was asked for. How it ended goes into its report; a model named by id is pinned.

    Raises:
        InputError: the model's name makes no sense.
        ConfigurationError: the pinned revisions can't be read.
    """
    report = work.report
    if where.served is not None:
        _there(work, where.served, where.on, scratch)
        return
    # On an instance the default is the model of its image.
    asked = where.options.model or (DEFAULT_MODEL if where.here else None)
    model = choose(asked, where.pins, elsewhere=not where.here, engine=where.options.engine) if asked else None
    try:
        if place is not None:
            CloudRun(work, CloudHost(place, where.options, model, work.story, work.stop), scratch).run()
        elif model and work.outstanding and not report.dry_run:
            _here(work, model, scratch)
    except GputxError as error:
        report.ending = error
    if model and model.from_hub and report.model_revision:
        try:
            where.pins.record(model.name, report.model_revision)
        except (OSError, GputxError) as error:
            # What the run came to, and what may still run, is worth more than the pin.
            work.story.warn(f"the model's revision could not be recorded: {error}")
    report.phases = work.story.phases


def _there(work: Work, served: Balance, name: str, scratch: Path) -> None:
    """At servers that are up: nothing to launch, nothing to end."""
    from gputx.workflows.endpoints.bench import ServedBench  # noqa: PLC0415 - an HTTP client, which others don't need

    try:
        if work.outstanding and not work.report.dry_run:
            _prepared(work, ServedBench(served, name, work.stop), scratch)
    except GputxError as error:
        work.report.ending = error
    work.report.phases = work.story.phases


def _here(work: Work, model: ModelChoice, scratch: Path) -> None:
    """The same worker as a child process; nothing to launch and nothing to end."""
    _prepared(work, LocalBench(model, work.stop), scratch)


def _prepared(work: Work, bench: Bench, scratch: Path) -> None:
    preparation = Preparation(work.outstanding, scratch, work.story, work.stop, work.request.channel)
    try:
        work.transcribe(bench)
    finally:
        preparation.close()
        work.keep_partial_text()
