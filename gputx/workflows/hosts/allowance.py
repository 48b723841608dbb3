"""How long an instance may live: what ``--ttl`` and ``--max-cost`` come to, for the locks to enforce."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gputx.errors import ConfigurationError, InputError
from gputx.models import Pool, Stay
from gputx.units import duration, money

SHORTEST_SECONDS = 120.0
"""Less is no use: the boot alone takes a good part of a minute, and EC2 bills sixty seconds in any case."""


def allowance(
    *,
    ttl: float,
    max_cost: float | None,
    spent: float,
    pools: Iterable[Pool],
    on_demand: Mapping[str, float],
) -> float:
    """Seconds the next instance may live.

    The money is counted at the highest price that any of the pools can come to: a spot price moves while an
    instance runs, but without a maximum of our own it never passes the on-demand price (Amazon EC2 User Guide,
    "Spot Instance pricing"). So the bound holds whatever the market does.

    Args:
        ttl: the bound in time, in seconds.
        max_cost: the bound in money, USD, or None.
        spent: USD that earlier instances of the run have cost.
        on_demand: USD an hour by instance type.

    Raises:
        ConfigurationError: there is a bound in money, and a pool without an on-demand price.
        InputError: what is left of the money pays for less than two minutes.
    """
    if max_cost is None:
        return ttl
    prices = [on_demand.get(pool.instance_type) for pool in pools]
    known = [price for price in prices if price]
    if len(known) < len(prices) or not known:
        raise ConfigurationError(
            "--max-cost can't be kept: AWS did not say what the instance costs on demand",
            hint="try again, or bound the time instead: --ttl 30m",
        )
    seconds = (max_cost - spent) * 3600 / max(known)
    if seconds < max(SHORTEST_SECONDS, Stay.MINIMUM_SECONDS):
        raise InputError(
            f"--max-cost {money(max_cost)} pays for {duration(max(0.0, seconds))} at up to {money(max(known))}/h",
            hint=f"{money(max(known) * 600 / 3600)} would pay for ten minutes",
        )
    return min(ttl, seconds)
