"""Which pools may have capacity, best first.

A pool is a zone, an instance type and a market. Price decides; the placement score speaks only where it says
anything (it is always low for fewer than three instance types, and answers by zone id, not zone name). Price
and score may both be missing: then the order is by name, and the launch finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from gputx.aws.errors import AwsError
from gputx.aws.pricing import on_demand_hourly
from gputx.aws.session import AwsSession
from gputx.errors import InputError
from gputx.models import Market, Pool

T = TypeVar("T")

TYPES_FOR_A_MEANINGFUL_SCORE = 3
"""GetSpotPlacementScores: "specify at least three instance types", or the score is low whatever the capacity."""


@dataclass(frozen=True)
class Survey:
    """Pools, best first, and what could not be learnt about them."""

    pools: tuple[Pool, ...]
    on_demand: Mapping[str, float]
    notes: tuple[str, ...]


def survey(session: AwsSession, *, types: Sequence[str], zones: Sequence[str], markets: Sequence[Market]) -> Survey:
    """Ask AWS for offers, prices and scores, side by side.

    Raises:
        InputError: no allowed zone offers an allowed type.
        AwsError: the offers can't be read. Missing prices or scores are notes, not errors.
    """
    notes: list[str] = []

    def optional(what: str, ask: Callable[[], dict[str, T]]) -> dict[str, T]:
        try:
            return ask()
        except AwsError as error:
            notes.append(f"{what} unknown ({error.code})")
            return {}

    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="survey") as together:
        offers = together.submit(_offers, session, types)
        spot = together.submit(optional, "spot prices", lambda: _spot_prices(session, types))
        scores = together.submit(optional, "placement scores", lambda: _scores(session, types))
        fixed = together.submit(optional, "on-demand prices", lambda: _on_demand_prices(session, types))
        offered = offers.result()
        pools = rank(offered, spot=spot.result(), on_demand=fixed.result(), scores=scores.result(), markets=markets)
    allowed = tuple(pool for pool in pools if not zones or pool.zone in zones)
    if not allowed:
        have = sorted({zone for zone, _ in offered})
        if zones and have:
            raise InputError(
                f"{', '.join(types)} is not offered in {', '.join(zones)}",
                hint=f"zones that offer it: {', '.join(have)}",
            )
        raise InputError(
            f"{', '.join(types)} is not offered in {session.region}",
            hint="choose another --instance-type or --region",
        )
    return Survey(allowed, fixed.result(), tuple(notes))


def rank(
    offered: Sequence[tuple[str, str]],
    *,
    spot: Mapping[str, float],
    on_demand: Mapping[str, float],
    scores: Mapping[str, int],
    markets: Sequence[Market],
) -> list[Pool]:
    """Order pools by market (as given), then price, then score, then name.

    Args:
        offered: (zone, instance type) pairs.
        spot: USD per hour by ``"zone type"``.
        on_demand: USD per hour by type.
        scores: 1 to 10 by zone.
    """
    pools = [
        Pool(
            zone=zone,
            instance_type=instance_type,
            market=market,
            hourly=spot.get(f"{zone} {instance_type}") if market is Market.SPOT else on_demand.get(instance_type),
            score=scores.get(zone) if market is Market.SPOT else None,
        )
        for market in markets
        for zone, instance_type in offered
    ]

    def order(pool: Pool) -> tuple[int, float, int, str, str]:
        price = float("inf") if pool.hourly is None else pool.hourly
        return (markets.index(pool.market), price, -(pool.score or 0), pool.zone, pool.instance_type)

    return sorted(pools, key=order)


def _offers(session: AwsSession, types: Sequence[str]) -> list[tuple[str, str]]:
    offers = session.pages(
        "ec2",
        "DescribeInstanceTypeOfferings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": list(types)}],
    )
    return [(offer["Location"], offer["InstanceType"]) for offer in offers]


def _spot_prices(session: AwsSession, types: Sequence[str]) -> dict[str, float]:
    now = datetime.fromtimestamp(session.clock.time(), UTC)
    history = session.pages(
        "ec2",
        "DescribeSpotPriceHistory",
        "SpotPriceHistory",
        InstanceTypes=list(types),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now,
    )
    newest_last = sorted(history, key=lambda entry: entry["Timestamp"])
    return {f"{entry['AvailabilityZone']} {entry['InstanceType']}": float(entry["SpotPrice"]) for entry in newest_last}


def _scores(session: AwsSession, types: Sequence[str]) -> dict[str, int]:
    return scores(session, types) if len(types) >= TYPES_FOR_A_MEANINGFUL_SCORE else {}


def scores(session: AwsSession, types: Sequence[str]) -> dict[str, int]:
    """How likely spot capacity is, 1 to 10 by zone; for fewer than three types always low. Raises AwsError."""
    answer = session.call(
        "ec2",
        "GetSpotPlacementScores",
        InstanceTypes=list(types),
        TargetCapacity=1,
        SingleAvailabilityZone=True,
        RegionNames=[session.region],
    )
    zones = session.call("ec2", "DescribeAvailabilityZones")["AvailabilityZones"]
    names = {zone["ZoneId"]: zone["ZoneName"] for zone in zones}
    by_zone = [(names.get(entry["AvailabilityZoneId"]), entry["Score"]) for entry in answer["SpotPlacementScores"]]
    return {zone: score for zone, score in by_zone if zone}


def _on_demand_prices(session: AwsSession, types: Sequence[str]) -> dict[str, float]:
    prices = {instance_type: on_demand_hourly(session, instance_type) for instance_type in types}
    return {instance_type: price for instance_type, price in prices.items() if price is not None}
