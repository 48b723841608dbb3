"""Ending what earlier commands left, beside a command's own work: every command that talks to an account does it.

First what this person's journal has open and nobody holds, wherever it is; then whatever else of gputx is past the
deadline in its own tag, whoever's it is: that belongs to no living run.
"""

from __future__ import annotations

from collections.abc import Callable

from gputx.aws import identity
from gputx.aws.custody import AccountCustody
from gputx.aws.inventory import Inventory
from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.lease.reaper import reap
from gputx.lease.settle import BESIDE_OTHER_WORK, settle
from gputx.lease.verdict import Policy, judge
from gputx.models import Kind
from gputx.workflows.place import Place

_LOOKED_FOR = (Kind.INSTANCE, Kind.KEY_PAIR, Kind.SECURITY_GROUP)
"""What every run makes. The rest is for `gputx reap`, which has the time to ask for it all."""

_Found = tuple[list[str], list[str]]
"""What was ended, and what is worth a line, in words."""


def settle_earlier(place: Place, note: Callable[[str], None], stop: Stop | None = None) -> list[str]:
    """Say in one line what was ended; return what a person should be told: what may still run, what went wrong."""
    ended: list[str] = []
    told: list[str] = []
    stop = stop or Stop()
    for part in (_of_the_journal, _overdue):
        try:
            done, open_still = part(place, stop)
        except GputxError as error:
            if not stop.requested:  # else its calls were given up on purpose, and the next command looks
                told.append(f"what earlier commands left could not be looked for ({error.message})")
        except Exception as error:  # noqa: BLE001 - a bug in here must not cost a run that has its texts
            told.append(f"what earlier commands left could not be looked for ({type(error).__name__}: {error})")
        else:
            ended += done
            told += open_still
    if ended:
        note(f"ended what earlier runs left: {', '.join(ended)}")
    return list(dict.fromkeys(told))


def _of_the_journal(place: Place, stop: Stop) -> _Found:
    if place.journal.idle:
        return [], []
    home = place.session
    account = identity.whoami(home).account
    ended: list[str] = []
    told: list[str] = []
    for region in sorted({entry.region for entry in place.journal.unfinished(account)}):
        session = home if region == home.region else home.elsewhere(region)
        settled = settle(
            place.journal,
            AccountCustody(session),
            account=account,
            region=region,
            clock=session.clock,
            stop=stop,
        )
        ended += settled.ended
        told += [f"{error.message}; {error.hint}" for error in settled.open]
    return ended, told


def _overdue(place: Place, stop: Stop) -> _Found:
    """What an account shows past its deadline is ended without asking whose it is: nobody's run is that old."""
    session = place.session
    inventory = Inventory(session)
    policy = Policy(caller="", journal_id="", held=lambda _: False, now=session.clock.time(), only_overdue=True)
    verdicts = judge(inventory.leftovers(_LOOKED_FOR), policy)
    reaped = reap(inventory, verdicts, clock=session.clock, patience=BESIDE_OTHER_WORK, stop=stop)
    alive = [left for left in reaped.left if left.leftover.kind is Kind.INSTANCE]
    return (
        [thing.id for thing in reaped.ended],
        [
            f"{left.leftover.id} is past its deadline and was not seen to end ({left.why}); {left.command}"
            for left in alive
        ],
    )
