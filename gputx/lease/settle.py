"""Ending what earlier processes of this person left: the second lock.

Every command that talks to an account does this first, beside its own work. A run that a living gputx holds is left
alone; of the rest, what the journal has open is ended by a guard resumed from it. What can't be confirmed stays in
the journal for the next command. Nothing is ever launched here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from gputx.clock import Clock, Stop
from gputx.errors import GputxError, StillRunningError
from gputx.lease.custody import Custody, Patience
from gputx.lease.guard import Guard
from gputx.lease.journal import Entry, Journal
from gputx.lease.record import RunRecord
from gputx.models import Kind

BESIDE_OTHER_WORK = Patience(end=10.0, credentials=0.0, lost=0.0, tidying=2.0)
"""For a command that has work of its own: what is not settled now is the next command's."""


_SHOWN_SECONDS = 600.0
"""EC2 is eventually consistent, which it puts at seconds."""


@dataclass(frozen=True)
class Settled:
    """What came of it.

    Attributes:
        runs: ids of the runs of which nothing is left.
        ended: ids of instances that were ended, and what else was taken away, in words.
        instances: the ids alone.
        open: what could not be confirmed, and stays in the journal.
    """

    runs: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    open: tuple[StillRunningError, ...] = ()


def settle(
    journal: Journal,
    custody: Custody,
    *,
    account: str,
    region: str,
    clock: Clock,
    run_id: str | None = None,
    patience: Patience = BESIDE_OTHER_WORK,
    say: Callable[[str], None] = lambda _: None,
    stop: Stop | None = None,
) -> Settled:
    """End what the journal has open in one region of one account and nobody holds; of one run where given.

    What is kept until its deadline is ended only where its run is given; or, what is left of it, where its instance
    has ended by itself.

    Args:
        stop: once requested, no further run is begun with.

    Raises:
        ConfigurationError: the journal can't be used.
    """
    runs: list[str] = []
    ended: list[str] = []
    instances: list[str] = []
    still_open: list[StillRunningError] = []
    unfinished = sorted(journal.unfinished(account, region, run_id), key=_run)
    for run, entries_of in groupby(unfinished, key=_run):
        if stop is not None and stop.requested:
            break
        if run_id is None and _stays(list(entries_of), custody, clock.time()):
            continue
        record = _take(journal, account, region, run, say)
        if record is None:
            continue
        guard = Guard(record=record, custody=custody, clock=clock, say=say, patience=patience)
        try:
            # Read again under the lock: another process may have settled it while we waited for nothing.
            if entries := journal.unfinished(account, region, run):
                guard.resume(entries)
                guard.end()
                runs.append(run)
        except StillRunningError as error:
            still_open.append(error)
        finally:
            ended.extend(guard.terminated)
            instances.extend(guard.terminated)
            if guard.tidied:
                ended.append(f"the {_joined(guard.tidied)} of run {run}")
            record.close()
    return Settled(tuple(runs), tuple(ended), tuple(instances), tuple(still_open))


def _stays(entries: Sequence[Entry], custody: Custody, now: float) -> bool:
    """Whether a run was kept, and is still worth it: its instance is not seen to have ended."""
    kept = [entry for entry in entries if entry.kept(now)]
    if not kept:
        return False
    try:
        there = custody.instances(kept[0].run_id)
    except GputxError:
        return True  # the next command looks again
    # One that is not shown at all ended an hour ago or more, unless it is so new that it is not shown yet.
    new = now - max(entry.changed for entry in kept) < _SHOWN_SECONDS
    return any(instance.live for instance in there) or (not there and new)


def _take(journal: Journal, account: str, region: str, run: str, say: Callable[[str], None]) -> RunRecord | None:
    hold = journal.hold(run)
    if hold is None:
        return None
    deadline = max((entry.deadline for entry in journal.unfinished(account, region, run)), default=0.0)
    return RunRecord(journal, account=account, region=region, run_id=run, deadline=deadline, say=say, hold=hold)


def _joined(kinds: Sequence[Kind]) -> str:
    *others, last = kinds
    return f"{', '.join(others)} and {last}" if others else str(last)


def _run(entry: Entry) -> str:
    return entry.run_id
