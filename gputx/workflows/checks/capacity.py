"""Whether AWS has GPUs for this account now: its quotas, the zones that sell them, the price and the odds."""

from __future__ import annotations

from dataclasses import dataclass

from gputx.aws import pools, quotas
from gputx.aws.errors import AwsError
from gputx.aws.part import Found, Standing
from gputx.aws.quota_request import QuotaRequest
from gputx.errors import ConfigurationError, ExitCode, GputxError, InputError
from gputx.models import Market, Pool
from gputx.units import money
from gputx.workflows.checks.finding import Finding, failed, ok, skipped, warning
from gputx.workflows.checks.ground import Ground

_KNOWN_TYPES = ("g4dn.xlarge", "g5.xlarge", "g6.xlarge")
"""The smallest of each family with an NVIDIA GPU that is sold widely: one of them is named where none of those wanted
is sold."""
_SCARCE = 3
"""Placement scores up to this are low. Source: EC2 User Guide, "Spot placement score": 10 means highly likely to
succeed."""
_OTHER = {Market.SPOT: Market.ON_DEMAND, Market.ON_DEMAND: Market.SPOT}
_MEANWHILE = {Market.SPOT: "runs are on-demand", Market.ON_DEMAND: "nothing is tried where spot has no capacity"}


@dataclass(frozen=True)
class _Room:
    """vCPUs: what may run, what runs, and what the smallest wanted instance needs."""

    limit: float
    used: int
    needed: int

    @property
    def fits(self) -> bool:
        return self.used + self.needed <= self.limit


def quota(ground: Ground, market: Market) -> Finding:
    """Whether one more instance may be launched in this market."""
    if market not in ground.wishes.markets:
        return skipped(f"a run is asked to be {_OTHER[market]} only")
    types = ground.vcpus()
    if not types:
        return skipped(f"{', '.join(ground.wishes.instance_types)} counts against another quota")
    smallest = min(types, key=lambda name: (types[name], name))
    room = _room(ground, market)
    link = quotas.request_link(ground.session.region, market)
    line = f"{smallest} needs {room.needed} vCPUs; {room.used} of {room.limit:.0f} in use"
    facts = {"needed": room.needed, "in_use": room.used, "limit": room.limit, "link": link}
    if room.fits:
        return ok(line, facts=facts)
    details = [f"more: {link}"]
    if room.needed > room.limit:
        remedy = ground.remedies.setup()
        if asked := _asked_for(ground, market, room.needed):
            line, remedy = f"{line}; {asked.detail}", asked.remedy or remedy
    else:
        remedy = ground.remedies.gputx("ps")
    if other := _way_out(ground, market):
        return warning(f"{line}: {other}", remedy, details=tuple(details), facts=facts)
    return failed(line, remedy, details=tuple(details), code=ExitCode.CAPACITY, facts=facts)


def _asked_for(ground: Ground, market: Market, needed: int) -> Found | None:
    """What AWS has been asked for and has not decided; None where that is nothing, or can't be seen."""
    try:
        found = QuotaRequest(f"{market} GPU vCPUs", market, needed).look(ground.session)
    except AwsError:
        return None
    return found if found.standing is Standing.ASKED else None


def _room(ground: Ground, market: Market) -> _Room:
    return _Room(ground.allowed(market), ground.used()[market], min(ground.vcpus().values()))


def _way_out(ground: Ground, market: Market) -> str | None:
    """What a run does without this market; None where that is nothing."""
    other = _OTHER[market]
    try:
        there = other in ground.wishes.markets and _room(ground, other).fits
    except GputxError:
        there = False
    return _MEANWHILE[market] if there else None


def zones(ground: Ground) -> Finding:
    """Where the wanted types are sold, wanted zones and subnets allowing."""
    wanted = ground.wishes
    try:
        sold = sorted({pool.zone for pool in ground.pools().pools})
    except InputError as error:
        return _sold_nowhere(ground, error)
    try:
        subnets = ground.network().subnets
    except ConfigurationError as error:
        words = ("describe-subnets", "--output", "table") if wanted.subnet else ("create-default-vpc",)
        return failed(error.message, ground.remedies.aws("ec2", *words))
    usable, types = ground.usable(), ", ".join(wanted.instance_types)
    facts = {"sold": sold, "usable": list(usable)}
    if usable:
        return ok(f"{types} in {', '.join(usable)}", facts=facts)
    if wanted.zones and not set(wanted.zones) & set(sold):
        return failed(
            f"{types} is sold in {', '.join(sold)}, and not in {', '.join(wanted.zones)}",
            ground.remedies.setting("zone", ",".join(sold)),
            facts=facts,
            code=ExitCode.USAGE,
        )
    return failed(
        f"{types} is sold in {', '.join(sold)}; the subnets are in {', '.join(sorted(subnets))}",
        ground.remedies.aws("ec2", "describe-subnets", "--output", "table"),
        facts=facts,
    )


def _sold_nowhere(ground: Ground, error: InputError) -> Finding:
    """What is wanted is not sold in the region; name something that is, or a region."""
    try:
        found = pools.survey(ground.session, types=_KNOWN_TYPES, zones=(), markets=(Market.ON_DEMAND,)).pools
    except InputError:
        line = f"{error.message}, nor is {' or '.join(_KNOWN_TYPES)}"
        return failed(line, ground.remedies.setting("region", "eu-north-1"), code=ExitCode.USAGE)
    instead = min(pool.instance_type for pool in found)
    return failed(error.message, ground.remedies.setting("instance_type", instead), code=ExitCode.USAGE)


def price(ground: Ground) -> Finding:
    """What spot costs now in the best zone, and how likely AWS says it is to be had."""
    if Market.SPOT not in ground.wishes.markets:
        return skipped("a run is asked to be on-demand only")
    survey = ground.pools()
    spot = [pool for pool in survey.pools if pool.market is Market.SPOT and pool.zone in ground.usable()]
    priced = [(pool.hourly, pool) for pool in spot if pool.hourly is not None]
    if not priced:
        notes = f": {'; '.join(survey.notes)}" if survey.notes else ""
        return warning(f"the spot price is not known{notes}", ground.remedies.gputx("doctor"))
    hourly, best = min(priced, key=lambda pair: (pair[0], pair[1].zone))
    return _judged(ground, best, hourly, survey.on_demand.get(best.instance_type))


def _judged(ground: Ground, best: Pool, hourly: float, fixed: float | None) -> Finding:
    """``hourly`` and ``fixed`` are USD: the spot price, and the one on demand where it is known."""
    score, low_anyway = _score(ground, best)
    facts = {"zone": best.zone, "instance_type": best.instance_type, "spot": hourly, "on_demand": fixed}
    facts |= {"score": score, "score_counts": not low_anyway}
    line = f"{money(hourly)}/h for {best.instance_type} in {best.zone}"
    line += f" (on-demand {money(fixed)})" if fixed is not None else ""
    line += "; score not known" if score is None else f"; score {score} of 10"
    otherwise = ground.remedies.setting("market", "on-demand")
    if fixed is not None and hourly >= fixed:
        return warning(f"{line}: no cheaper than on-demand", otherwise, facts=facts)
    if score is not None and low_anyway:
        line += ", which is low for fewer than 3 types"
    elif score is not None and score <= _SCARCE:
        return warning(f"{line}: capacity is scarce", otherwise, facts=facts)
    return ok(line, facts=facts)


def _score(ground: Ground, pool: Pool) -> tuple[int | None, bool]:
    """The best score of the usable zones, and whether AWS rates this question low whatever the capacity."""
    types = ground.wishes.instance_types
    if len(types) >= pools.TYPES_FOR_A_MEANINGFUL_SCORE:
        there = [p.score for p in ground.pools().pools if p.zone in ground.usable() and p.score is not None]
        return max(there, default=pool.score), False
    try:
        scores = pools.scores(ground.session, types)
    except AwsError:
        return None, True
    return max((score for zone, score in scores.items() if zone in ground.usable()), default=None), True
