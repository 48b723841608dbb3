"""What instances have cost so far, at the prices of now."""

from __future__ import annotations

from collections.abc import Sequence

from gputx.aws.pools import survey
from gputx.aws.session import AwsSession
from gputx.errors import GputxError
from gputx.models import Cost, Instance, Market, Stay


def so_far(session: AwsSession, found: Sequence[Instance]) -> dict[str, float | None]:
    """USD by instance id, from launch until now; None where the price can't be read. Raises nothing."""
    prices = _hourly(session, found)
    now = session.clock.time()
    return {i.id: _cost(max(0.0, now - i.launched_at), prices.get((i.zone, i.instance_type, i.market))) for i in found}


def _cost(seconds: float, hourly: float | None) -> float | None:
    return Cost((Stay(seconds, hourly, None),)).total


def _hourly(session: AwsSession, found: Sequence[Instance]) -> dict[tuple[str, str, Market], float]:
    """USD an hour by (zone, type, market); a price that can't be read is left out."""
    types = sorted({instance.instance_type for instance in found})
    if not types:
        return {}
    try:
        pools = survey(session, types=types, zones=(), markets=(Market.SPOT, Market.ON_DEMAND)).pools
    except GputxError:
        return {}
    return {(p.zone, p.instance_type, p.market): p.hourly for p in pools if p.hourly is not None}
