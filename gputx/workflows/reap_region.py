"""One region of a reap: looked at, judged, ended, and squared with the journal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from gputx.aws import tags
from gputx.aws.custody import AccountCustody
from gputx.aws.inventory import Inventory
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.lease.custody import Patience
from gputx.lease.journal import Journal
from gputx.lease.reaper import PATIENCE, Reaped, reap
from gputx.lease.settle import BESIDE_OTHER_WORK
from gputx.lease.unseen import Unseen, end_unseen, note_gone
from gputx.lease.verdict import Policy, Verdict, judge, spare_what_serves
from gputx.models import Kind, Leftover
from gputx.workflows import reap_report
from gputx.workflows.reap_report import Blind, Named
from gputx.workflows.story import Story

_LANDING = replace(PATIENCE, tidying=0.0)
"""For launches: what only clutters has a turn of its own, and the time that it may need."""
_ONCE = Patience(end=0.0, credentials=0.0, lost=0.0, tidying=0.0)


@dataclass
class Region:
    """One region: what was found there, and what became of it."""

    session: AwsSession
    verdicts: list[Verdict] = field(default_factory=list)
    deaf: bool = False
    """Instances could not be looked for."""
    blind: list[Blind] = field(default_factory=list)
    reaped: Reaped = field(default_factory=lambda: Reaped((), ()))
    unseen: list[Unseen] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.session.region

    @property
    def inventory(self) -> Inventory:
        return Inventory(self.session)


@dataclass(frozen=True)
class Errand:
    """What is done in each region.

    Attributes:
        essential: the region that has to answer; of others it is only told that they did not.
        only: what a person has seen and agreed to; None for whatever is due.
    """

    policy: Policy
    journal: Journal
    account: str
    story: Story
    stop: Stop
    dry_run: bool
    essential: str | None
    only: frozenset[Named] | None

    def look(self, region: Region) -> None:
        """Find what carries our tag, and judge it. All that a run made is in one region."""
        trouble: dict[str, list[Kind]] = {}
        try:
            found = region.inventory.leftovers(
                failed=lambda kind, error: trouble.setdefault(error.message, []).append(kind), priced=True
            )
        except GputxError as error:
            if region.name == self.essential:
                raise
            region.blind.append(Blind(region.name, "anything", error.message))
            return
        region.blind += [Blind(region.name, _plural(kinds), message) for message, kinds in trouble.items()]
        asked = [thing for thing in found if self.policy.run_id is None or self.policy.names(thing.run_id)]
        region.deaf = any(Kind.INSTANCE in kinds for kinds in trouble.values())
        verdicts = judge(asked, replace(self.policy, deaf=region.deaf))
        region.verdicts = spare_what_serves(_agreed(verdicts, self.only))

    def end(self, region: Region) -> None:
        """End what was judged, and square the journal: what it has open here and nobody sees is settled, too."""
        region.reaped = self._reap(
            region, region.verdicts, PATIENCE, before_clutter=lambda ended: self._settle_launches(region, ended)
        )
        if not self._journal_says(region):
            return
        try:
            # In a rehearsal nothing was settled before, so that all that the journal knows is told of here.
            region.unseen += self._settle(region, region.reaped.ended, BESIDE_OTHER_WORK)
        except GputxError as error:
            region.blind.append(Blind(region.name, "what only the journal knows", error.message))
        tried = {item.leftover for item in region.reaped.left if item.tried}
        if tried and not self.dry_run:
            # Settling may have ended what held it.
            again = self._reap(region, [v for v in region.verdicts if v.leftover in tried], _ONCE)
            untried = tuple(item for item in region.reaped.left if not item.tried)
            region.reaped = Reaped(region.reaped.ended + again.ended, again.left + untried)

    def _reap(
        self,
        region: Region,
        verdicts: Sequence[Verdict],
        patience: Patience,
        before_clutter: Callable[[Sequence[Leftover]], Collection[str]] = lambda _: (),
    ) -> Reaped:
        return reap(
            region.inventory,
            verdicts,
            clock=region.session.clock,
            dry_run=self.dry_run,
            progress=self._tell,
            say=self.story.note,
            stop=self.stop,
            patience=patience,
            deaf=region.deaf,
            before_clutter=before_clutter,
        )

    def _settle_launches(self, region: Region, ended: Sequence[Leftover]) -> set[str]:
        """End the launches that the journal knows to be open: what has landed since the look holds what clutters.

        Returns the runs of which something may run all the same.
        """
        if not self._journal_says(region):
            return set()
        patience = BESIDE_OTHER_WORK if region.deaf else _LANDING
        try:
            told = self._settle(region, ended, patience, only_launches=True)
        except GputxError as error:
            self.story.note(f"the journal could not be settled yet: {error.message}")
            return set()
        region.unseen += [item for item in told if item.ended]  # the rest is told as it is at the end
        return {item.run_id for item in told if item.may_run and not item.ended}

    def _settle(
        self, region: Region, ended: Sequence[Leftover], patience: Patience, *, only_launches: bool = False
    ) -> list[Unseen]:
        if not self.dry_run:
            note_gone(self.journal, self.account, region.name, ended)
        return end_unseen(
            self.journal,
            AccountCustody(region.session),
            region.inventory,
            region.verdicts,
            account=self.account,
            region=region.name,
            tag=tags.RUN,
            policy=self.policy,
            clock=region.session.clock,
            patience=patience,
            dry_run=self.dry_run,
            only_launches=only_launches,
            say=self.story.note,
        )

    def _journal_says(self, region: Region) -> bool:
        """Without an account that answers, the journal alone says nothing of what is there."""
        silent = any(item.what == "anything" for item in region.blind)
        return bool(self.policy.journal_id) and not self.stop.requested and not silent

    def _tell(self, thing: Leftover) -> None:
        # Of a rehearsal the table says as much, at the same moment.
        if not self.dry_run:
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


def _plural(kinds: Sequence[Kind]) -> str:
    return "anything" if len(kinds) == len(Kind) else ", ".join(f"{kind}s" for kind in kinds)
