"""One fleet as the account keeps it, and as DescribeFleets shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.matching import passes
from gputx.sandbox.plane.pools import Pool, shown_configs
from gputx.sandbox.plane.wire import AwsError
from gputx.sandbox.timers import Timer

TYPES = ("instant", "request", "maintain")
# The parameters of the request that Describe gives back as they came.
_ECHOED = ("SpotOptions", "OnDemandOptions", "ExcessCapacityTerminationPolicy", "Context")


@dataclass(frozen=True)
class Target:
    """The units a fleet is to have, in all and of each market."""

    spot: int
    on_demand: int
    default: str

    @classmethod
    def read(cls, asked: dict[str, Any]) -> Target:
        """From a TargetCapacitySpecification.

        Raises:
            AwsError: InvalidParameterValue.
        """
        total = int(asked.get("TotalTargetCapacity") or 0)
        spot, on_demand = int(asked.get("SpotTargetCapacity") or 0), int(asked.get("OnDemandTargetCapacity") or 0)
        default = asked.get("DefaultTargetCapacityType") or "on-demand"
        if default not in ("spot", "on-demand"):
            raise AwsError("InvalidParameterValue", f"Invalid value '{default}' for DefaultTargetCapacityType.")
        rest = total - spot - on_demand
        if min(spot, on_demand, rest) < 0:
            raise AwsError("InvalidParameterValue", "The target capacities of the markets exceed the total.")
        return cls(spot + rest, on_demand, default) if default == "spot" else cls(spot, on_demand + rest, default)

    def of(self, market: str) -> int:
        return self.spot if market == "spot" else self.on_demand

    def as_response(self) -> dict[str, Any]:
        return {
            "TotalTargetCapacity": self.spot + self.on_demand,
            "SpotTargetCapacity": self.spot,
            "OnDemandTargetCapacity": self.on_demand,
            "DefaultTargetCapacityType": self.default,
        }


@dataclass
class Fleet:
    """A fleet, kept after it was deleted.

    Attributes:
        call: the request it comes from: what it launches later is asked for beside it.
        members: every instance it ever launched, with the pool it was launched in.
        errors: why a pool gave nothing, as the API shows it.
        deleted: the state a deletion led to; empty until then.
        next_look: when it sees what it is short of; None while nothing calls for it.
    """

    id: str
    call: Ec2Call
    type: str
    target: Target
    pools: list[Pool]
    created: float
    members: list[tuple[Pool, Machine]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    deleted: str = ""
    next_look: Timer | None = None

    @property
    def state(self) -> str:
        if self.deleted and not any(machine.live for _, machine in self.members):
            return "deleted"
        return self.deleted or "active"

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.call.backend.tags.get(self.id, {}))

    def running(self) -> list[tuple[Pool, Machine]]:
        """The members that count: pending or running."""
        return [(pool, machine) for pool, machine in self.members if machine.state in ("pending", "running")]

    def fulfilled(self, market: str) -> float:
        """Units it has in a market. An instant fleet is answered once, and does not notice what comes after."""
        counted = self.members if self.type == "instant" else self.running()
        return sum(pool.weight for pool, machine in counted if machine.market == market)

    @property
    def activity(self) -> str:
        """How far it is with what it is to do, as ActivityStatus; empty for a deleted fleet that is done."""
        if self.state == "deleted":
            return ""
        if self.deleted == "deleted_terminating":
            return "pending_termination"
        short = any(self.fulfilled(market) < self.target.of(market) for market in ("spot", "on-demand"))
        if not short:
            return "fulfilled"
        return "error" if self.errors else "pending_fulfillment"

    def instances(self) -> list[dict[str, Any]]:
        """What an instant fleet answers it launched: one entry for each pool and market."""
        entries: dict[tuple[int, str], dict[str, Any]] = {}
        for pool, machine in self.members:
            entry = entries.setdefault(
                (id(pool), machine.market),
                {
                    "LaunchTemplateAndOverrides": pool.source,
                    "Lifecycle": machine.market,
                    "InstanceIds": [],
                    "InstanceType": pool.instance_type,
                    "AvailabilityZone": pool.zone,
                },
            )
            entry["InstanceIds"].append(machine.id)
        return list(entries.values())

    def as_response(self) -> dict[str, Any]:
        """As DescribeFleets shows it."""
        shown = {
            "FleetId": self.id,
            "FleetState": self.state,
            "CreateTime": datetime.fromtimestamp(self.created, UTC),
            "ClientToken": self.call.params.get("ClientToken"),
            "Type": self.type,
            "FulfilledCapacity": self.fulfilled("spot") + self.fulfilled("on-demand"),
            "FulfilledOnDemandCapacity": self.fulfilled("on-demand"),
            "TargetCapacitySpecification": self.target.as_response(),
            "LaunchTemplateConfigs": shown_configs(self.pools),
            "ReplaceUnhealthyInstances": bool(self.call.params.get("ReplaceUnhealthyInstances")),
            "TerminateInstancesWithExpiration": bool(self.call.params.get("TerminateInstancesWithExpiration")),
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
            **{name: self.call.params[name] for name in _ECHOED if self.call.params.get(name)},
        }
        if self.activity:
            shown["ActivityStatus"] = self.activity
        if self.type == "instant":
            shown.update(Instances=self.instances(), Errors=self.errors)
        return shown

    def passes(self, name: str, patterns: list[str]) -> bool:
        """Whether one filter of DescribeFleets lets it through. AWS has none on tags.

        Raises:
            AwsError: InvalidParameterValue.
        """
        policy = self.call.params.get("ExcessCapacityTerminationPolicy") or "termination"
        known: dict[str, Callable[[], Iterable[object]]] = {
            "activity-status": lambda: _spellings(self.activity),
            "excess-capacity-termination-policy": lambda: [policy == "termination", policy],
            "fleet-state": lambda: _spellings(self.state),
            "replace-unhealthy-instances": lambda: [bool(self.call.params.get("ReplaceUnhealthyInstances"))],
            "type": lambda: [self.type],
        }
        nothing_more = r"(?!)"
        return passes("DescribeFleets", name, patterns, known, nothing_more)


def _spellings(word: str) -> list[str]:
    """AWS answers ``deleted_running`` and documents the filter as ``deleted-running``."""
    return [word, word.replace("_", "-")] if word else []
