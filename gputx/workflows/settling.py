"""Ending what earlier commands left, beside a command's own work: every command that talks to an account does it.

First what this person's journal has open and nobody holds, then whatever else of gputx is past the deadline in its
own tag, whoever's it is: that belongs to no living run.
"""

from __future__ import annotations

from collections.abc import Callable

from gputx.aws import identity
from gputx.aws.custody import AccountCustody
from gputx.aws.inventory import Inventory
from gputx.errors import GputxError
from gputx.lease.guard import Patience
from gputx.lease.reaper import reap
from gputx.lease.settle import BESIDE_OTHER_WORK, settle
from gputx.lease.verdict import Policy, judge
from gputx.models import Kind
from gputx.workflows.place import Place

_LOOKED_FOR = (Kind.INSTANCE, Kind.KEY_PAIR, Kind.SECURITY_GROUP)
"""What every run makes. The rest is for `gputx reap`, which has the time to ask for it all."""


def settle_earlier(place: Place, note: Callable[[str], None]) -> list[str]:
    """Say in one line what was ended; return what is worth a line once the command's own work is done."""
    try:
        ended, still_open = _of_the_journal(place)
        ended += _overdue(place, BESIDE_OTHER_WORK)
    except GputxError as error:
        return [f"what earlier commands left could not be looked for ({error.message})"]
    if ended:
        note(f"ended what earlier runs left: {', '.join(ended)}")
    return still_open


def _of_the_journal(place: Place) -> tuple[list[str], list[str]]:
    """Ids of what was ended, and what could not be confirmed, in words."""
    if place.journal.idle:
        return [], []
    session = place.session
    settled = settle(
        place.journal,
        AccountCustody(session),
        account=identity.whoami(session).account,
        region=session.region,
        clock=session.clock,
    )
    return list(settled.ended), [f"{error.message}; {error.hint}" for error in settled.open]


def _overdue(place: Place, patience: Patience) -> list[str]:
    """What an account shows past its deadline is ended without asking whose it is: nobody's run is that old."""
    session = place.session
    inventory = Inventory(session)
    policy = Policy(caller="", journal_id="", held=lambda _: False, now=session.clock.time(), only_overdue=True)
    verdicts = judge(inventory.leftovers(_LOOKED_FOR), policy)
    return [thing.id for thing in reap(inventory, verdicts, clock=session.clock, patience=patience).ended]
