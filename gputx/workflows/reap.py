"""``gputx reap``: look for everything that gputx left, judge it, end what may be ended, and square the journal."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from gputx.aws import identity, regions
from gputx.clock import Stop
from gputx.errors import ConfigurationError
from gputx.events import EventStream
from gputx.lease.journal import Journal
from gputx.lease.verdict import GRACE_SECONDS, Policy
from gputx.workflows import reap_report
from gputx.workflows.place import open_place
from gputx.workflows.reap_region import Errand, Region
from gputx.workflows.reap_report import Named, ReapReport
from gputx.workflows.story import Story

_REGIONS_AT_ONCE = 8
_POLL_SECONDS = 0.2
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class ReapRequest:
    """What to end.

    Attributes:
        run_id: exactly this run, whoever's it is.
        older_than: seconds; nothing younger.
        everything: also what others run, what runs now, and servers.
        grace: seconds after its last sign of life for which a run elsewhere is taken to be alive.
        only: what a person has seen and agreed to; None for whatever is due.
    """

    dry_run: bool
    run_id: str | None = None
    older_than: float | None = None
    everything: bool = False
    all_regions: bool = False
    grace: float = GRACE_SECONDS
    only: frozenset[Named] | None = None


@dataclass(frozen=True)
class Where:
    """The account: ``on`` is "aws" or "sandbox"."""

    on: str
    region: str
    profile: str | None


def reap(request: ReapRequest, where: Where, events: EventStream, stop: Stop) -> ReapReport:
    """Find what carries our tag and what the journal has open; end what the request allows.

    A rehearsal (``dry_run``) does all of it but the calls that change anything.

    Raises:
        ConfigurationError: there are no usable credentials, or the region is none.
        AwsError: AWS does not say who is calling, or which regions there are.
        InterruptedBySignal: before anything was ended.
    """
    with open_place(where.on, region=where.region, profile=where.profile) as place:
        home, journal = place.session, place.journal
        story = Story(events, home.clock)
        who = identity.whoami(home)
        policy = Policy(
            caller=who.arn,
            journal_id=_journal_id(journal, story),
            held=lambda run_id: _held(journal, run_id),
            now=home.clock.time(),
            grace=request.grace,
            older_than=request.older_than,
            run_id=request.run_id,
            everything=request.everything,
        )
        names = regions.enabled(home) if request.all_regions else [home.region]
        if open_there := _open_elsewhere(journal, who.account, policy, names):
            story.note(f"{', '.join(open_there)} is looked at, too: the journal has something open there")
            names = [*names, *open_there]
        report = ReapReport(where.on, who.arn, tuple(names), policy.now, request.dry_run)
        errand = Errand(
            policy,
            journal,
            who.account,
            story,
            stop,
            dry_run=request.dry_run,
            essential=None if request.all_regions else home.region,
            only=request.only,
        )

        with story.phase("look", _many(names)) as phase:
            places = [Region(home if name == home.region else home.elsewhere(name)) for name in names]
            _each(places, errand.look, give_up=stop)
            phase.detail = f"{_count(places)} in {_many(names)}"
        for item in [item for region in places for item in region.blind]:
            story.warn(f"could not look for {item.what} in {item.region}: {item.why}")

        with story.phase("rehearse" if request.dry_run else "reap") as phase:
            _each(places, errand.end)
            phase.detail = f"{sum(len(region.reaped.ended) for region in places)} of {_count(places)}"

    for region in places:
        report.rows += reap_report.rows(region.verdicts, region.reaped, dry_run=request.dry_run)
        report.unseen += region.unseen
        report.blind += region.blind
    left = [item for region in places for item in region.reaped.left]
    report.ending = reap_report.ending(left, [] if request.dry_run else report.unseen, report.blind, stop.signum)
    return report


def _each(places: Sequence[Region], work: Callable[[Region], None], give_up: Stop | None = None) -> None:
    """Do it for all regions, some at once. ``give_up`` is for work that changes nothing: it leaves off at a stop."""
    with ThreadPoolExecutor(_REGIONS_AT_ONCE, thread_name_prefix="region") as together:
        under_way = {together.submit(work, region) for region in places}
        while give_up is not None and wait(under_way, timeout=_POLL_SECONDS).not_done:
            if give_up.requested:
                for region in places:
                    region.session.give_up()
                give_up.check()
        for done in under_way:
            done.result()


def _journal_id(journal: Journal, story: Story) -> str:
    try:
        return journal.id
    except ConfigurationError as error:
        story.warn(f"{error.message}; so only what carries a tag is looked for")
        return ""


def _open_elsewhere(journal: Journal, account: str, policy: Policy, names: Sequence[str]) -> list[str]:
    """Regions beside these in which the journal has something open of what was asked for."""
    if not policy.journal_id:
        return []
    unfinished = [e for e in journal.unfinished(account) if policy.run_id is None or policy.names(e.run_id)]
    return sorted({entry.region for entry in unfinished}.difference(names))


def _held(journal: Journal, run_id: str) -> bool:
    """Whether a living gputx has the run. Where that can't be told, it is taken to be so."""
    # A tag is anybody's to write, and what it says becomes the name of a file here.
    if not _RUN_ID.fullmatch(run_id):
        return False
    try:
        return journal.held(run_id)
    except ConfigurationError:
        return True


def _many(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} regions"


def _count(places: Sequence[Region]) -> str:
    count = sum(len(region.verdicts) for region in places)
    return f"{count} thing{'s' * (count != 1)}"
