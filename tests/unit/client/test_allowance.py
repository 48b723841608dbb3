"""What --ttl and --max-cost come to."""

from __future__ import annotations

import pytest

from gputx.errors import ConfigurationError, InputError
from gputx.models import Market, Pool
from gputx.workflows.hosts.allowance import allowance

SPOT = Pool("eu-north-1a", "g4dn.xlarge", Market.SPOT, hourly=0.18)
OTHER = Pool("eu-north-1a", "g4dn.2xlarge", Market.SPOT, hourly=0.25)
PRICES = {"g4dn.xlarge": 0.60, "g4dn.2xlarge": 0.90}


def seconds(ttl: float = 7200, max_cost: float | None = None, spent: float = 0.0, **other: object) -> float:
    given = {"pools": (SPOT,), "on_demand": PRICES, **other}
    return allowance(ttl=ttl, max_cost=max_cost, spent=spent, **given)  # type: ignore[arg-type]


def test_without_a_bound_in_money_it_is_the_ttl() -> None:
    assert seconds() == 7200
    assert seconds(pools=(Pool("z", "t", Market.SPOT),), on_demand={}) == 7200


def test_the_money_is_counted_at_what_spot_can_come_to() -> None:
    assert seconds(max_cost=0.30) == pytest.approx(1800)
    assert seconds(max_cost=0.30, pools=(SPOT, OTHER)) == pytest.approx(1200), "the dearest type that may be used"


def test_the_shorter_bound_holds() -> None:
    assert seconds(ttl=600, max_cost=100.0) == 600


def test_what_an_earlier_instance_cost_is_not_there_any_more() -> None:
    assert seconds(max_cost=0.30, spent=0.20) == pytest.approx(600)


def test_what_pays_for_nothing_is_refused_with_what_would() -> None:
    with pytest.raises(InputError, match=r"--max-cost \$0\.0100 pays for 1 min 00 s") as caught:
        seconds(max_cost=0.01)
    assert caught.value.hint == "$0.100 would pay for ten minutes"


def test_without_a_price_there_is_no_bound_to_keep() -> None:
    with pytest.raises(ConfigurationError, match="AWS did not say"):
        seconds(max_cost=1.0, pools=(Pool("z", "t", Market.SPOT),), on_demand={})
