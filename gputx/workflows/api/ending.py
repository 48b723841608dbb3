"""The end of a server: its instance, and what is left of one that has ended by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from gputx.aws.custody import AccountCustody
from gputx.errors import GputxError
from gputx.lease.custody import Patience
from gputx.lease.settle import Settled, settle
from gputx.models import Instance
from gputx.workflows.api.servers import Server, Servers
from gputx.workflows.place import Place
from gputx.workflows.story import Story


class AnotherAtWorkError(GputxError):
    """Another gputx is at a server of this region."""


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """One at a time in a region: two that come up at once would be two servers. Raises AnotherAtWorkError."""
    hold = place.journal.hold(f"api-{place.session.region}")
    if hold is None:
        raise AnotherAtWorkError(
            "another gputx is bringing a server up or taking it down", hint="`gputx api status` shows how it goes"
        )
    with hold:
        yield


_CLEARING = Patience(end=20.0, credentials=0.0, lost=0.0, tidying=5.0)


def end(place: Place, server: Server, story: Story, patience: Patience | None = None) -> Settled:
    """End a server and all that was made for it, and see it ending.

    Raises:
        ConfigurationError: the journal can't be used.
    """
    # First of all, for whoever holds a tunnel to it: its end is meant, and it is not to be replaced.
    Servers(place.journal).add(replace(server, until=min(server.until, place.session.clock.time())))
    return _settled(place, server, story, patience or Patience())


def clear_away(place: Place, server: Server, story: Story) -> None:
    """Take away what a server that has ended by itself has left: its key, its group, its schedule."""
    settled = _settled(place, server, story, _CLEARING)
    for error in settled.open:
        story.warn(error.message)
    if settled.runs:
        story.note(f"the server {server.instance_id} has ended; what it left was taken away")


def lost(server: Server, seen: Instance | None, now: float) -> bool:
    """Whether AWS took its instance before its time: whoever wants it may have another in its place."""
    return seen is not None and seen.taken and now < server.until


def _settled(place: Place, server: Server, story: Story, patience: Patience) -> Settled:
    session = place.session if place.session.region == server.region else place.session.elsewhere(server.region)
    settled = settle(
        place.journal,
        AccountCustody(session),
        account=server.account,
        region=server.region,
        clock=session.clock,
        run_id=server.run_id,
        patience=patience,
        say=story.note,
    )
    if not settled.open:
        Servers(place.journal).forget(server.run_id)
    return settled
