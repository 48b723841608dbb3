"""``gputx reap``: look for everything that gputx left, judge it, end what may be ended, and square the journal."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from gputx.aws import identity, regions, tags
from gputx.aws.custody import AccountCustody
from gputx.aws.inventory import Inventory
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError
from gputx.events import EventStream
from gputx.lease.journal import Journal
from gputx.lease.reaper import PATIENCE, Reaped
from gputx.lease.reaper import reap as end_all
from gputx.lease.unseen import Unseen, end_unseen, note_gone
from gputx.lease.verdict import GRACE_SECONDS, Policy, Verdict, judge
from gputx.models import Kind, Leftover
from gputx.workflows import reap_report
from gputx.workflows.place import open_place
from gputx.workflows.reap_report import Blind, Named, ReapReport
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


@dataclass
class _Region:
    """One region: what was found there, and what became of it."""

    session: AwsSession
    verdicts: list[Verdict] = field(default_factory=list)
    blind: list[Blind] = field(default_factory=list)
    reaped: Reaped = field(default_factory=lambda: Reaped((), ()))
    unseen: list[Unseen] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.session.region

    @property
    def inventory(self) -> Inventory:
        return Inventory(self.session)


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
        names = regions.enabled(home) if request.all_regions else [home.region]
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
        report = ReapReport(where.on, who.arn, tuple(names), policy.now, request.dry_run)
        errand = _Errand(request, policy, journal, who.account, story, stop)

        with story.phase("look", _many(names)) as phase:
            places = [_Region(home if name == home.region else home.elsewhere(name)) for name in names]
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


@dataclass(frozen=True)
class _Errand:
    """What is done in each region."""

    request: ReapRequest
    policy: Policy
    journal: Journal
    account: str
    story: Story
    stop: Stop

    def look(self, region: _Region) -> None:
        """Find what carries our tag, and judge it. All that a run made is in one region."""
        trouble: dict[str, list[Kind]] = {}
        try:
            found = region.inventory.leftovers(
                failed=lambda kind, error: trouble.setdefault(error.message, []).append(kind), priced=True
            )
        except GputxError as error:
            if not self.request.all_regions:
                raise
            region.blind.append(Blind(region.name, "anything", error.message))
            return
        region.blind += [Blind(region.name, _plural(kinds), message) for message, kinds in trouble.items()]
        asked = [thing for thing in found if self.request.run_id is None or self.policy.names(thing.run_id)]
        policy = replace(self.policy, deaf=any(Kind.INSTANCE in kinds for kinds in trouble.values()))
        region.verdicts = _agreed(judge(asked, policy), self.request.only)

    def end(self, region: _Region) -> None:
        """End what was judged, and square the journal: what it has open here and nobody sees is settled, too."""
        region.reaped = end_all(
            region.inventory,
            region.verdicts,
            clock=region.session.clock,
            dry_run=self.request.dry_run,
            progress=self._tell,
            say=self.story.note,
            stop=self.stop,
        )
        # Without an account that answers, the journal alone says nothing of what is there.
        if not self.policy.journal_id or self.stop.requested or any(item.what == "anything" for item in region.blind):
            return
        try:
            if not self.request.dry_run:
                note_gone(self.journal, self.account, region.name, region.reaped.ended)
            region.unseen = end_unseen(
                self.journal,
                AccountCustody(region.session),
                region.inventory,
                region.verdicts,
                account=self.account,
                region=region.name,
                tag=tags.RUN,
                policy=self.policy,
                clock=region.session.clock,
                patience=PATIENCE,
                dry_run=self.request.dry_run,
                say=self.story.note,
            )
        except GputxError as error:
            region.blind.append(Blind(region.name, "what only the journal knows", error.message))

    def _tell(self, thing: Leftover) -> None:
        # Of a rehearsal the table says as much, at the same moment.
        if not self.request.dry_run:
            self.story.note(f"ended {thing.kind} {thing.id} of run {thing.run_id}")


def _agreed(verdicts: list[Verdict], only: frozenset[Named] | None) -> list[Verdict]:
    """Spare what has come since a person was asked."""
    if only is None:
        return verdicts
    return [
        replace(verdict, ends=False, why="not there when you were asked")
        if verdict.ends and reap_report.named(verdict.leftover) not in only
        else verdict
        for verdict in verdicts
    ]


def _each(places: Sequence[_Region], work: Callable[[_Region], None], give_up: Stop | None = None) -> None:
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


def _held(journal: Journal, run_id: str) -> bool:
    """Whether a living gputx has the run. Where that can't be told, it is taken to be so."""
    # A tag is anybody's to write, and what it says becomes the name of a file here.
    if not _RUN_ID.fullmatch(run_id):
        return False
    try:
        return journal.held(run_id)
    except ConfigurationError:
        return True


def _plural(kinds: Sequence[Kind]) -> str:
    return "anything" if len(kinds) == len(Kind) else ", ".join(f"{kind}s" for kind in kinds)


def _many(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} regions"


def _count(places: Sequence[_Region]) -> str:
    count = sum(len(region.verdicts) for region in places)
    return f"{count} thing{'s' * (count != 1)}"
