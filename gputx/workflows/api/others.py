"""Servers of this person that can't be reached from here: they are told of, and not doubled."""

from __future__ import annotations

from dataclasses import dataclass

from gputx.aws import identity, instances, tags
from gputx.aws.identity import Identity
from gputx.lease.verdict import API
from gputx.workflows.api.servers import Servers
from gputx.workflows.place import Place


@dataclass(frozen=True)
class Other:
    """One of them. ``words`` say what it is, ``hint`` what can be done, in a line each."""

    words: str
    hint: str


def elsewhere(place: Place, who: Identity) -> list[Other]:
    """Live servers of this person in this region, brought up from another machine or with the way in lost.

    Raises:
        AwsError: the account does not answer.
    """
    me, here = identity.lasting(who.arn), place.journal.id
    known = {server.run_id for server in Servers(place.journal).known(account=who.account)}
    now = place.session.clock.time()
    kept = {entry.run_id for entry in place.journal.unfinished(who.account) if entry.kept(now)}
    found = []
    for instance in instances.find(place.session):
        labels = instance.tags
        run_id = labels.get(tags.RUN, "")
        if not instance.live or labels.get(tags.PURPOSE) != API or identity.lasting(labels.get(tags.OWNER, "")) != me:
            continue
        end = f"end it: gputx reap --run {run_id}"
        if labels.get(tags.JOURNAL) != here:
            words = f"{instance.id} is a server of yours, brought up from another machine"
            found.append(Other(words, f"work from there; {end}"))
        elif run_id not in known and run_id in kept:
            found.append(Other(f"{instance.id} is a server of yours, and the way in is lost", end))
    return found
