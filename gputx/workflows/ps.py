"""``gputx ps``: what is running in the account, by our tag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gputx.aws import costs, instances, tags
from gputx.models import Instance
from gputx.workflows.place import open_place
from gputx.workflows.settling import settle_earlier


@dataclass(frozen=True)
class Running:
    """One instance, how old it is in seconds, and what it has cost so far in USD, where prices are known."""

    instance: Instance
    run_id: str
    owner: str
    age: float
    deadline: float | None
    cost: float | None


def running(on: str, *, region: str, profile: str | None, note: Callable[[str], None]) -> list[Running]:
    """Every instance of ours that is not terminated, oldest first. Raises ConfigurationError, AwsError.

    Args:
        note: told what earlier commands left, and what became of it.
    """
    with open_place(on, region=region, profile=profile) as place:
        session = place.session
        # First, so that what is listed is what is left of it.
        for line in settle_earlier(place, note):
            note(line)
        found = sorted((i for i in instances.find(session) if i.state != "terminated"), key=lambda i: i.launched_at)
        cost = costs.so_far(session, found)
        now = session.clock.time()
    return [
        Running(
            instance=instance,
            run_id=instance.tags.get(tags.RUN, ""),
            owner=instance.tags.get(tags.OWNER, ""),
            age=max(0.0, now - instance.launched_at),
            deadline=tags.time_of(instance.tags, tags.DEADLINE),
            cost=cost[instance.id],
        )
        for instance in found
    ]
