"""``gputx ps``: what is running in the account, by our tag."""

from __future__ import annotations

from dataclasses import dataclass

from gputx.aws import instances, tags
from gputx.aws.pools import survey
from gputx.aws.session import AwsSession
from gputx.errors import GputxError
from gputx.models import Cost, Instance, Market, Stay
from gputx.workflows.place import open_session


@dataclass(frozen=True)
class Running:
    """One instance, how old it is in seconds, and what it has cost so far in USD, where prices are known."""

    instance: Instance
    run_id: str
    owner: str
    age: float
    deadline: float | None
    cost: float | None


def running(on: str, *, region: str, profile: str | None) -> list[Running]:
    """Every instance of ours that has not been seen ending, oldest first. Raises ConfigurationError, AwsError."""
    with open_session(on, region=region, profile=profile) as session:
        found = sorted((i for i in instances.find(session) if i.state != "terminated"), key=lambda i: i.launched_at)
        prices = _prices(session, found)
        now = session.clock.time()
    return [
        _running(instance, prices.get((instance.zone, instance.instance_type, instance.market)), now)
        for instance in found
    ]


def _running(instance: Instance, hourly: float | None, now: float) -> Running:
    age = max(0.0, now - instance.launched_at)
    return Running(
        instance=instance,
        run_id=instance.tags.get(tags.RUN, ""),
        owner=instance.tags.get(tags.OWNER, ""),
        age=age,
        deadline=tags.deadline_of(instance.tags),
        cost=Cost((Stay(age, hourly, None),)).total,
    )


def _prices(session: AwsSession, found: list[Instance]) -> dict[tuple[str, str, Market], float]:
    """USD an hour by (zone, type, market); a price that can't be read is left out, and shown as unknown."""
    types = sorted({instance.instance_type for instance in found})
    if not types:
        return {}
    try:
        pools = survey(session, types=types, zones=(), markets=(Market.SPOT, Market.ON_DEMAND)).pools
    except GputxError:
        return {}
    return {(p.zone, p.instance_type, p.market): p.hourly for p in pools if p.hourly is not None}
