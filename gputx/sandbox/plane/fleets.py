"""EC2 Fleets: one call that goes through many pools, and the records it leaves."""

from __future__ import annotations

import math
import re
import secrets
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.fleet import TYPES, Fleet, Target
from gputx.sandbox.plane.launch import Launches
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.matching import passes
from gputx.sandbox.plane.orders import check_tag_keys, read_order
from gputx.sandbox.plane.pools import ON_DEMAND_STRATEGIES, SPOT_STRATEGIES, Pool, rank, read_pools
from gputx.sandbox.plane.supply import Supply
from gputx.sandbox.plane.tokens import Tokens, fingerprint_of
from gputx.sandbox.plane.wire import AwsError, DryRun, NotEmulated, decode_page, encode_page
from gputx.sandbox.rulebook import RuleBook
from gputx.sandbox.timers import Timers

_PAGE = 1000
_FLEET_ID = re.compile(r"fleet-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# How soon a maintained fleet looks after an instance that ended, or a launch that failed.
_REPLENISH_SECONDS = 60.0
_TAGGABLE = {"instant": ("fleet", "instance", "volume"), "request": ("fleet",), "maintain": ("fleet",)}
_MISSING = {
    "": ("ReservedCapacityOptions", "ValidFrom", "ValidUntil"),
    "TargetCapacitySpecification": ("TargetCapacityUnitType",),
    "OnDemandOptions": (
        "CapacityReservationOptions",
        "SingleInstanceType",
        "SingleAvailabilityZone",
        "MinTargetCapacity",
        "MaxTotalPrice",
    ),
    "SpotOptions": (
        "MaintenanceStrategies",
        "SingleInstanceType",
        "SingleAvailabilityZone",
        "MinTargetCapacity",
        "MaxTotalPrice",
    ),
}


class FleetActions:
    """CreateFleet, DescribeFleets, DescribeFleetInstances, DeleteFleets, with every fleet there ever was."""

    def __init__(self, timers: Timers, rules: RuleBook, machines: Machines, supply: Supply, launches: Launches) -> None:
        self._timers = timers
        self._rules = rules
        self._machines = machines
        self._supply = supply
        self._launches = launches
        self._fleets: dict[str, Fleet] = {}
        self._tokens = Tokens()
        machines.watch(self._ended)

    def all(self) -> list[Fleet]:
        return list(self._fleets.values())

    def create_fleet(self, call: Ec2Call) -> dict[str, Any]:
        """CreateFleet. What can't be launched does not fail the call: an instant fleet answers why, pool by pool.

        A fleet of another type launches its target before the call is answered, where AWS takes its time.
        """
        params = call.params
        scope, token, fingerprint = (call.region,), params.get("ClientToken") or "", fingerprint_of(params)
        dry = bool(params.get("DryRun"))
        if not dry and (remembered := self._tokens.recall(scope, token, fingerprint)):
            answered: dict[str, Any] = remembered
            return answered
        kind = params.get("Type") or "maintain"
        _check(params, kind)
        tags = params.get("TagSpecifications") or []
        for entry in tags:
            check_tag_keys(tag["Key"] for tag in entry.get("Tags") or [])
            if entry.get("ResourceType") not in _TAGGABLE[kind]:
                raise AwsError(
                    "InvalidParameterValue",
                    f"'{entry.get('ResourceType')}' is not a valid taggable resource type for a fleet of type {kind}.",
                )
        fleet = Fleet(
            id=_fleet_id(),
            call=call,
            type=kind,
            target=Target.read(params.get("TargetCapacitySpecification") or {}),
            pools=read_pools(call, [entry for entry in tags if entry["ResourceType"] != "fleet"]),
            created=self._timers.now(),
        )
        if dry:
            raise DryRun
        self._fleets[fleet.id] = fleet
        own = [tag for entry in tags if entry["ResourceType"] == "fleet" for tag in entry.get("Tags") or []]
        call.backend.create_tags([fleet.id], {tag["Key"]: tag.get("Value", "") for tag in own})
        self._fulfil(fleet)
        answer: dict[str, Any] = {"FleetId": fleet.id}
        if kind == "instant":
            answer.update(Instances=fleet.instances(), Errors=list(fleet.errors))
        self._tokens.keep(scope, token, fingerprint, answer)
        return answer

    def describe_fleets(self, call: Ec2Call) -> dict[str, Any]:
        """DescribeFleets: an instant fleet is shown only where its id is given."""
        ids = call.params.get("FleetIds") or []
        found = [self._find(call, fleet_id) for fleet_id in ids]
        if not ids:
            found = [f for f in self.all() if f.call.backend is call.backend and f.type != "instant"]
        for name, patterns in call.filters.items():
            found = [fleet for fleet in found if fleet.passes(name, patterns)]
        start, end, following = _page(call, len(found))
        return {"Fleets": [fleet.as_response() for fleet in found[start:end]], "NextToken": following}

    def describe_fleet_instances(self, call: Ec2Call) -> dict[str, Any]:
        """DescribeFleetInstances, which AWS does not have for instant fleets."""
        fleet = self._find(call, call.params.get("FleetId") or "")
        if fleet.type == "instant":
            raise AwsError(
                "Unsupported",
                f"Fleet {fleet.id} is instant fleet. Describe fleet instances is not supported by this type of fleet",
            )
        found = [machine for _, machine in fleet.running()]
        for name, patterns in call.filters.items():
            found = [machine for machine in found if _instance_passes(machine, name, patterns)]
        start, end, following = _page(call, len(found))
        shown = [
            {
                "InstanceId": machine.id,
                "InstanceType": machine.instance.instance_type,
                "InstanceHealth": "unhealthy" if machine.halted else "healthy",
                **({"SpotInstanceRequestId": machine.spot.id} if machine.spot else {}),
            }
            for machine in found[start:end]
        ]
        return {"FleetId": fleet.id, "ActiveInstances": shown, "NextToken": following}

    def delete_fleets(self, call: Ec2Call) -> dict[str, Any]:
        """DeleteFleets: each fleet for itself, with its instances or, unless it is instant, without."""
        deleted, refused = [], []
        for fleet_id in call.params.get("FleetIds") or []:
            try:
                deleted.append(self._delete(call, fleet_id, terminate=bool(call.params.get("TerminateInstances"))))
            except AwsError as error:
                refused.append({"FleetId": fleet_id, "Error": {"Code": error.code, "Message": error.message}})
        return {"SuccessfulFleetDeletions": deleted, "UnsuccessfulFleetDeletions": refused}

    def _delete(self, call: Ec2Call, fleet_id: str, *, terminate: bool) -> dict[str, Any]:
        if not _FLEET_ID.fullmatch(fleet_id):
            raise AwsError("fleetIdMalformed", f"The fleet ID '{fleet_id}' is malformed")
        fleet = self._fleets.get(fleet_id)
        if fleet is None or fleet.call.backend is not call.backend:
            raise AwsError("fleetIdDoesNotExist", f"The fleet ID '{fleet_id}' does not exist")
        before = fleet.state
        if before == "deleted" or (fleet.deleted and not terminate):
            raise AwsError("fleetNotInDeletableState", f"The fleet '{fleet_id}' is in state {before}")
        if fleet.type == "instant" and not terminate:
            raise AwsError(
                "NoTerminateInstancesNotSupported", "NoTerminateInstances option is not supported for instant fleet"
            )
        fleet.deleted = "deleted_terminating" if terminate else "deleted_running"
        for _, machine in fleet.running():
            if terminate:
                self._machines.terminate(machine)
            elif machine.spot:
                machine.spot.cancel()
        current = "deleted_terminating" if terminate else fleet.state
        return {"FleetId": fleet.id, "PreviousFleetState": before, "CurrentFleetState": current}

    def _find(self, call: Ec2Call, fleet_id: str) -> Fleet:
        fleet = self._fleets.get(fleet_id)
        if fleet is None or fleet.call.backend is not call.backend:
            raise AwsError("InvalidFleetId.NotFound", f"The fleet ID '{fleet_id}' does not exist")
        return fleet

    def _ended(self, machine: Machine) -> None:
        """An instance has begun to end: a fleet that is maintained will see to it."""
        for fleet in self._fleets.values():
            if any(member is machine for _, member in fleet.members):
                self._look_later(fleet)

    def _look_later(self, fleet: Fleet) -> None:
        if fleet.type == "maintain" and not fleet.deleted and fleet.next_look is None:
            fleet.next_look = self._timers.at(self._timers.now() + _REPLENISH_SECONDS, lambda _: self._look(fleet))

    def _look(self, fleet: Fleet) -> None:
        fleet.next_look = None
        if not fleet.deleted:
            self._fulfil(fleet)

    def _fulfil(self, fleet: Fleet) -> None:
        """Launch what a fleet is short of, through its pools, best first."""
        fleet.errors.clear()
        for market, strategy in (("on-demand", _strategy(fleet, "OnDemand")), ("spot", _strategy(fleet, "Spot"))):
            if fleet.fulfilled(market) < fleet.target.of(market):
                self._fill(fleet, market, strategy)
        if fleet.errors:
            self._look_later(fleet)

    def _fill(self, fleet: Fleet, market: str, strategy: str) -> None:
        now = self._timers.now()
        ranked = rank(fleet.pools, market, strategy, now, lambda pool: self._has_capacity(pool, market))
        for place, pool in enumerate(ranked):
            short = fleet.target.of(market) - fleet.fulfilled(market)
            if short <= 0:
                return
            share = short / (len(ranked) - place) if strategy == "diversified" else short
            wanted = math.ceil(share / pool.weight)
            try:
                launched = self._launch(fleet, pool, market, wanted)
            except (AwsError, emulator.moto_error()) as error:
                fleet.errors.append(_as_error(pool, market, error))
                continue
            fleet.members += [(pool, machine) for machine in launched]
            if len(launched) < wanted:
                fleet.errors.append(_as_error(pool, market, self._supply.over_quota(market)))

    def _has_capacity(self, pool: Pool, market: str) -> bool:
        return self._rules.has_capacity(pool.zone, pool.instance_type, market, count_hit=False)

    def _launch(self, fleet: Fleet, pool: Pool, market: str, count: int) -> list[Machine]:
        """Up to ``count`` instances in one pool.

        Raises:
            AwsError: none, and why.
        """
        facets = {"zone": pool.zone, "type": pool.instance_type, "market": market}
        if fault := self._rules.launch_fault(facets):
            raise AwsError(fault.error or "", fault.message, fault.status)
        if not pool.sold:
            raise AwsError(
                "InvalidFleetConfiguration",
                f"Your requested instance type ({pool.instance_type}) is not supported in your requested "
                f"Availability Zone ({pool.zone or fleet.call.region}).",
            )
        token = f"{fleet.id}-{len(fleet.members)}"
        inner = fleet.call.beside("RunInstances", {**pool.request(market, count), "ClientToken": token})
        order = read_order(inner, self._machines.disks)
        marks = {**pool.marks, "aws:ec2:fleet-id": fleet.id}
        reservation = self._launches.launch(inner, order, token, marks)
        return [self._machines.get(instance.id) for instance in reservation.instances]


def _check(params: dict[str, Any], kind: str) -> None:
    if kind not in TYPES:
        raise AwsError("InvalidParameterValue", f"Invalid value '{kind}' for Type.")
    for name, options in _MISSING.items():
        given = (params.get(name) or {}) if name else params
        for option in options:
            if given.get(option):
                raise NotEmulated("ec2", "CreateFleet", f"with {option}")
    spot, on_demand = params.get("SpotOptions") or {}, params.get("OnDemandOptions") or {}
    if spot.get("InstanceInterruptionBehavior") not in (None, "terminate"):
        raise NotEmulated("ec2", "CreateFleet", "with instances that an interruption only stops")
    if int(spot.get("InstancePoolsToUseCount") or 1) != 1:
        raise NotEmulated("ec2", "CreateFleet", "with InstancePoolsToUseCount")
    for asked, known in ((spot, SPOT_STRATEGIES), (on_demand, ON_DEMAND_STRATEGIES)):
        if (strategy := asked.get("AllocationStrategy")) and strategy not in known:
            raise AwsError("InvalidParameterValue", f"Invalid value '{strategy}' for AllocationStrategy.")


def _strategy(fleet: Fleet, market: str) -> str:
    options = fleet.call.params.get(f"{market}Options") or {}
    return str(options.get("AllocationStrategy") or "lowest-price")


def _as_error(pool: Pool, market: str, error: Any) -> dict[str, Any]:
    """An entry of Errors. moto's errors have code and message as ours do."""
    return {
        "LaunchTemplateAndOverrides": pool.source,
        "Lifecycle": market,
        "ErrorCode": error.code,
        "ErrorMessage": error.message,
    }


def _instance_passes(machine: Machine, name: str, patterns: list[str]) -> bool:
    nothing_more = r"(?!)"
    known = {"instance-type": lambda: [machine.instance.instance_type]}
    return passes("DescribeFleetInstances", name, patterns, known, nothing_more)


def _page(call: Ec2Call, total: int) -> tuple[int, int, str | None]:
    """Start, end and the token of what follows."""
    start = decode_page(call.params.get("NextToken"))
    end = start + int(call.params.get("MaxResults") or _PAGE)
    return start, end, encode_page(end) if end < total else None


def _fleet_id() -> str:
    text = secrets.token_hex(16)
    return f"fleet-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
