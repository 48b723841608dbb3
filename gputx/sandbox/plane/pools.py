"""Where a fleet may launch: each template and override of its request, in each zone it leaves open, in order."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gputx.sandbox.plane import catalog, emulator
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.parts import subnet_of, zone_of
from gputx.sandbox.plane.templates import find_template, merge, merge_tags, template_tags, version_of
from gputx.sandbox.plane.wire import AwsError, NotEmulated

# What an override says in other words than a launch does, or says to the fleet alone.
_FLEET_WORDS = frozenset(
    {"MaxPrice", "SubnetId", "AvailabilityZone", "AvailabilityZoneId", "WeightedCapacity", "Priority", "Placement"}
)
SPOT_STRATEGIES = frozenset(
    {
        "lowest-price",
        "lowestPrice",
        "diversified",
        "price-capacity-optimized",
        "capacity-optimized",
        "capacity-optimized-prioritized",
    }
)
ON_DEMAND_STRATEGIES = frozenset({"lowest-price", "lowestPrice", "prioritized"})


@dataclass(frozen=True, eq=False)
class Pool:
    """One way a fleet may launch.

    Attributes:
        zone: empty where no zone of the region sells the type, or there is no such subnet.
        sold: whether the type is sold there; so it counts where only the subnet is wrong.
        weight: units of the target that one instance is.
        source: the template and the override, as the API shows them.
        launch: the parameters of the RunInstances call that this comes to, but for count and market.
        marks: tags that only AWS may give.
    """

    instance_type: str
    zone: str
    sold: bool
    weight: float
    priority: float
    max_price: str
    source: dict[str, Any]
    launch: dict[str, Any]
    marks: dict[str, str]

    def price(self, market: str, at: float) -> float:
        """USD per hour and unit; infinite where the type is not sold."""
        vcpus = emulator.vcpus(self.instance_type)
        if not self.zone or vcpus is None:
            return math.inf
        if market == "on-demand":
            return catalog.on_demand_price(self.instance_type, vcpus) / self.weight
        return catalog.spot_price(self.instance_type, vcpus, self.zone, at) / self.weight

    def request(self, market: str, count: int) -> dict[str, Any]:
        """The RunInstances parameters for up to ``count`` instances."""
        options: dict[str, Any] = {}
        if market == "spot":
            price = {"SpotOptions": {"MaxPrice": self.max_price}} if self.max_price else {}
            options = {"InstanceMarketOptions": {"MarketType": "spot", **price}}
        return {**copy.deepcopy(self.launch), **options, "MinCount": 1, "MaxCount": count}


def read_pools(call: Ec2Call, instance_tags: list[dict[str, Any]]) -> list[Pool]:
    """Every pool that a CreateFleet request names, in the order in which it names them.

    Args:
        instance_tags: tag specifications of the request itself, for what it launches.

    Raises:
        AwsError: a template that does not exist, or one that a fleet can't use.
    """
    pools = []
    for config in call.params.get("LaunchTemplateConfigs") or []:
        named = config.get("LaunchTemplateSpecification") or {}
        if named.get("LaunchTemplateSpecificationUserData"):
            raise NotEmulated("ec2", "CreateFleet", "with user-data beside the template's")
        version = version_of(find_template(call.backend, named), named.get("Version"))
        if version.data.get("InstanceMarketOptions"):
            raise AwsError(
                "InvalidFleetConfig", "A launch template with InstanceMarketOptions can't be used by an EC2 Fleet."
            )
        for override in config.get("Overrides") or [{}]:
            pools += _pools_of(call, version, override, instance_tags)
    if not pools:
        raise AwsError("MissingParameter", "The request must contain the parameter LaunchTemplateConfigs")
    return pools


def shown_configs(pools: Iterable[Pool]) -> list[dict[str, Any]]:
    """The templates and overrides of a fleet as DescribeFleets shows them."""
    configs: dict[tuple[str, str], dict[str, Any]] = {}
    for pool in pools:
        template, override = pool.source["LaunchTemplateSpecification"], pool.source.get("Overrides")
        key = (template["LaunchTemplateId"], template["Version"])
        config = configs.setdefault(key, {"LaunchTemplateSpecification": template, "Overrides": []})
        if override and override not in config["Overrides"]:
            config["Overrides"].append(override)
    return list(configs.values())


def rank(pools: list[Pool], market: str, strategy: str, at: float, has_capacity: Callable[[Pool], bool]) -> list[Pool]:
    """The pools in the order in which a fleet tries them.

    By price, unless the strategy says otherwise. All that the sandbox knows of a pool's depth is whether there is
    anything in it and its placement score, so ``price-capacity-optimized`` comes to the price, too: an empty pool is
    found out by trying it.
    """

    def price(pool: Pool) -> float:
        return pool.price(market, at)

    def depth(pool: Pool) -> int:
        return -catalog.placement_score([pool.instance_type], pool.zone, has_capacity=has_capacity(pool))

    keys: dict[str, Callable[[Pool], tuple[float, ...]]] = {
        "prioritized": lambda pool: (pool.priority, price(pool)),
        "capacity-optimized": lambda pool: (not has_capacity(pool), depth(pool), price(pool)),
        "capacity-optimized-prioritized": lambda pool: (not has_capacity(pool), pool.priority, depth(pool)),
    }
    return sorted(pools, key=keys.get(strategy, lambda pool: (price(pool),)))


def _pools_of(call: Ec2Call, version: Any, override: dict[str, Any], instance_tags: list[dict[str, Any]]) -> list[Pool]:
    if override.get("InstanceRequirements"):
        raise NotEmulated("ec2", "CreateFleet", "by instance requirements")
    launch = merge(version.data, {name: value for name, value in override.items() if name not in _FLEET_WORDS})
    launch["TagSpecifications"] = merge_tags(launch.get("TagSpecifications") or [], instance_tags)
    kind = launch.get("InstanceType")
    if not kind:
        raise AwsError("InvalidFleetConfig", "Neither the launch template nor the override has an instance type.")
    weight = float(override.get("WeightedCapacity") or 1)
    if weight <= 0:
        raise AwsError("InvalidParameterValue", f"Invalid value '{weight:g}' for WeightedCapacity.")
    source: dict[str, Any] = {
        "LaunchTemplateSpecification": {
            "LaunchTemplateId": version.template.id,
            "Version": str(version.number),
        }
    }
    if override:
        source["Overrides"] = override
    priority = override.get("Priority")
    sold = {offer["Location"] for offer in emulator.offered_types(call.region) if offer["InstanceType"] == kind}
    return [
        Pool(
            instance_type=kind,
            zone=zone,
            sold=(zone in sold) if zone else bool(subnet),
            weight=weight,
            priority=math.inf if priority is None else float(priority),
            max_price=override.get("MaxPrice") or "",
            source=source,
            launch=_placed(launch, override, zone, subnet),
            marks=template_tags(version),
        )
        for zone, subnet in _places(call, launch, override, sold)
    ]


def _places(
    call: Ec2Call, launch: dict[str, Any], override: dict[str, Any], sold: Iterable[str]
) -> list[tuple[str, str]]:
    """(zone, subnet) of each place that an override leaves open; a subnet may be empty, and so may a zone."""
    backend = call.backend
    if subnets := _listed(override.get("SubnetId")) or _listed(subnet_of(launch)):
        return [(zone_of(backend, subnet), subnet) for subnet in subnets]
    zones = _listed((override.get("Placement") or {}).get("AvailabilityZone") or override.get("AvailabilityZone"))
    if wanted := _listed(override.get("AvailabilityZoneId")):
        names = {zone.zone_id: zone.name for zone in backend.describe_availability_zones()}
        zones += [names.get(zone_id, zone_id) for zone_id in wanted]
    zones = zones or _listed((launch.get("Placement") or {}).get("AvailabilityZone"))
    return [(zone, "") for zone in zones or sorted(sold) or [""]]


def _placed(launch: dict[str, Any], override: dict[str, Any], zone: str, subnet: str) -> dict[str, Any]:
    placed = copy.deepcopy(launch)
    if subnet and placed.get("NetworkInterfaces"):
        placed["NetworkInterfaces"][0]["SubnetId"] = subnet
    elif subnet:
        placed["SubnetId"] = subnet
    placement = {**(placed.get("Placement") or {}), **(override.get("Placement") or {})}
    placed["Placement"] = {**placement, "AvailabilityZone": zone} if zone else placement
    return placed


def _listed(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
