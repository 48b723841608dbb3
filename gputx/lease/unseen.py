"""What the journal has open and the account does not show: launches that may yet land, and things without their tag.

A launch that was accepted and can't be seen yet is fenced, by the deletion of its run's key, and stays open until its
deadline has passed. A thing that the journal knows and that has lost its gputx tag is told of and not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Protocol

from gputx.clock import Clock
from gputx.lease.custody import MARGIN_SECONDS, Custody, Patience
from gputx.lease.guard import IMAGE_SEEN_SECONDS
from gputx.lease.journal import Entry, Journal, State
from gputx.lease.settle import settle
from gputx.lease.verdict import Policy, Verdict
from gputx.models import Kind, Leftover


class Sight(Protocol):
    """How a thing is looked at by its id alone. Calls may raise GputxError."""

    def labels_of(self, kind: Kind, id_: str) -> Mapping[str, str] | None:
        """The tags it carries; None where it can't be seen."""

    def ending_command(self, leftover: Leftover) -> str:
        """What a person can paste to end it by hand. Asks nobody."""


@dataclass(frozen=True)
class Unseen:
    """One thing, or one launch, that only the journal knows.

    Attributes:
        id: None for a launch whose answer was lost.
        deadline: seconds since the epoch.
        ended: its end was seen, or it never came to be.
        may_run: it may cost money.
    """

    kind: Kind
    id: str | None
    region: str
    run_id: str
    deadline: float
    what: str
    ended: bool = False
    may_run: bool = False
    command: str | None = None


def note_gone(journal: Journal, account: str, region: str, ended: Iterable[Leftover]) -> None:
    """Record the ends that were seen. Raises ConfigurationError where the journal can't be used."""
    for thing in ended:
        for entry in journal.unfinished(account, region, thing.run_id):
            # A run has one key pair, one group, one schedule; of instances it may have several.
            if entry.kind == thing.kind and (thing.kind is not Kind.INSTANCE or entry.resource == thing.id):
                journal.advance(entry.key, State.GONE)


def end_unseen(
    journal: Journal,
    custody: Custody,
    sight: Sight,
    verdicts: Sequence[Verdict],
    *,
    account: str,
    region: str,
    tag: str,
    policy: Policy,
    clock: Clock,
    patience: Patience,
    dry_run: bool = False,
    only_launches: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[Unseen]:
    """Settle the runs that the journal has open here, nobody holds, and the policy and the verdicts would end.

    Args:
        verdicts: on what was found by tag; what ended of it is in the journal already.
        tag: a thing that does not carry it is not touched.
        only_launches: leave the runs alone that have no launch open.

    Raises:
        ConfigurationError: the journal can't be used.
        GputxError: the account does not answer.
    """
    kept = {verdict.leftover.run_id for verdict in verdicts if not verdict.ends}
    shown = {(verdict.leftover.kind, verdict.leftover.id) for verdict in verdicts}
    told: list[Unseen] = []
    unfinished = sorted(journal.unfinished(account, region), key=lambda entry: entry.run_id)
    for run_id, lines in groupby(unfinished, key=lambda entry: entry.run_id):
        entries = list(lines)
        if run_id in kept or not _wanted(run_id, entries, policy) or journal.held(run_id):
            continue
        if only_launches and not any(_is_launch(entry) for entry in entries):
            continue
        bare = [entry for entry in entries if _lost_its_tag(entry, sight, tag)]
        told.extend(_untagged(entry, region, sight) for entry in bare)
        if bare:
            continue
        if dry_run:
            there = [entry for entry in entries if (entry.kind, entry.resource) not in shown]
            told.extend(_open(entry, sight) for entry in there if _is_launch(entry))
            continue
        settled = settle(
            journal,
            custody,
            account=account,
            region=region,
            clock=clock,
            run_id=run_id,
            patience=_no_longer_than_helps(patience, entries, policy),
            say=say,
        )
        told.extend(
            _ended(id_, run_id, region, entries) for id_ in settled.instances if (Kind.INSTANCE, id_) not in shown
        )
        still_open = journal.unfinished(account, region, run_id)
        # While a launch is open the rest of its run stays open with it, and needs no line of its own.
        launches = [entry for entry in still_open if _is_launch(entry)]
        told.extend(_open(entry, sight) for entry in launches or still_open)
    return told


def _is_launch(entry: Entry) -> bool:
    return entry.kind == Kind.INSTANCE and entry.state is not State.INTENT


def _no_longer_than_helps(patience: Patience, entries: Sequence[Entry], policy: Policy) -> Patience:
    """A launch of long ago is visible at once or not at all."""
    age = policy.now - max(entry.changed for entry in entries)
    return patience if age < policy.grace else replace(patience, lost=0.0)


def _wanted(run_id: str, entries: Sequence[Entry], policy: Policy) -> bool:
    if policy.run_id is not None and not policy.names(run_id):
        return False
    if policy.only_overdue and policy.now <= max(entry.deadline for entry in entries) + MARGIN_SECONDS:
        return False
    asked = policy.run_id is not None or policy.everything
    if not asked and any(entry.kept(policy.now) for entry in entries):
        return False
    youngest = policy.now - max(entry.changed for entry in entries)
    return policy.older_than is None or youngest >= policy.older_than


def _lost_its_tag(entry: Entry, sight: Sight, tag: str) -> bool:
    if entry.resource is None:
        return False
    labels = sight.labels_of(Kind(entry.kind), entry.resource)
    return labels is not None and not labels.get(tag)


def _untagged(entry: Entry, region: str, sight: Sight) -> Unseen:
    kind, id_ = Kind(entry.kind), str(entry.resource)
    return Unseen(
        kind=kind,
        id=id_,
        region=region,
        run_id=entry.run_id,
        deadline=entry.deadline,
        what=f"{kind} {id_} is of run {entry.run_id}, but its gputx tag was taken off, so it is left alone",
        may_run=kind is Kind.INSTANCE,
        command=sight.ending_command(Leftover(kind, id_, region, entry.run_id)),
    )


def _ended(id_: str, run_id: str, region: str, entries: Sequence[Entry]) -> Unseen:
    deadline = max(entry.deadline for entry in entries)
    what = f"instance {id_} of run {run_id}, known from the journal, has ended"
    return Unseen(Kind.INSTANCE, id_, region, run_id, deadline, what, ended=True)


def _open(entry: Entry, sight: Sight) -> Unseen:
    kind, run = Kind(entry.kind), f"run {entry.run_id}"
    until = f"{datetime.fromtimestamp(entry.deadline + MARGIN_SECONDS, UTC).astimezone():%H:%M}"
    command = None
    if kind is Kind.IMAGE and entry.state is State.SENT:
        until = f"{datetime.fromtimestamp(entry.changed + IMAGE_SEEN_SECONDS, UTC).astimezone():%H:%M}"
        what = f"an image of {run} was asked for and is not visible yet; it stays in the journal until {until}"
    elif kind is not Kind.INSTANCE:
        article = "an" if kind is Kind.IMAGE else "a"
        what = f"{article} {kind} of {run} could not be deleted yet; the next gputx command will"
    elif entry.resource is None:
        what = f"1 launch of {run} is not visible yet; it stays in the journal until {until}"
    else:
        what = f"{entry.resource} of {run} was not seen ending; it stays in the journal until {until}"
        command = sight.ending_command(Leftover(kind, entry.resource, entry.region, entry.run_id))
    return Unseen(
        kind=kind,
        id=entry.resource,
        region=entry.region,
        run_id=entry.run_id,
        deadline=entry.deadline,
        what=what,
        may_run=kind is Kind.INSTANCE,
        command=command,
    )
