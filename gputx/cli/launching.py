"""What may be launched, from a person's settings: the same for a run, a builder and a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gputx.config import Configuration
    from gputx.workflows.hosts.survey import LaunchOptions


def launch_options(
    settings: Configuration,
    *,
    instance_types: tuple[str, ...] | None = None,
    market: str | None = None,
    lifetime: str = "ttl",
) -> LaunchOptions:
    """Settings as options of a launch.

    Args:
        settings: a person's.
        instance_types: instead of theirs.
        market: auto, spot or on-demand, instead of theirs.
        lifetime: the setting that says how long an instance may live.

    Raises:
        InputError: a setting has a value that can't be.
    """
    from gputx.models import Market  # noqa: PLC0415 - commands load what they need when they run
    from gputx.workflows.hosts.survey import LaunchOptions  # noqa: PLC0415 - as above

    market = market or settings.text("market")
    rate = settings.text("volume_rate")
    return LaunchOptions(
        instance_types=instance_types or settings.items("instance_type"),
        zones=settings.items("zone"),
        markets=(Market.SPOT, Market.ON_DEMAND) if market == "auto" else (Market(market),),
        ttl=settings.seconds(lifetime),
        max_cost=settings.dollars("max_cost"),
        grace=settings.seconds("grace"),
        boot_timeout=settings.seconds("boot_timeout"),
        subnet=settings.optional("subnet"),
        cidrs=settings.items("allow_cidr"),
        volume_rate=None if rate == "none" else int(rate),
    )
