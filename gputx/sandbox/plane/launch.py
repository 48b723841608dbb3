"""RunInstances: whether and where an order is carried out, and what a client token promises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gputx.sandbox.clock import SandboxClock
from gputx.sandbox.plane import catalog
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.orders import Order, read_order, zone_asked_for
from gputx.sandbox.plane.spot import SpotRequests
from gputx.sandbox.plane.supply import Supply
from gputx.sandbox.plane.wire import AwsError, DryRun
from gputx.sandbox.rulebook import RuleBook


@dataclass(frozen=True)
class _Remembered:
    """What a client token was used for."""

    fingerprint: str
    reservation: Any


class Launches:
    """RunInstances, with everything it remembers."""

    def __init__(
        self, clock: SandboxClock, rules: RuleBook, machines: Machines, spot: SpotRequests, supply: Supply
    ) -> None:
        self._clock = clock
        self._rules = rules
        self._machines = machines
        self._spot = spot
        self._supply = supply
        self._tokens: dict[tuple[str, str, str], _Remembered] = {}

    def run_instances(self, call: Ec2Call) -> Any:
        """The reservation, as moto has it.

        Raises:
            AwsError: with the code AWS would answer.
        """
        fingerprint = _fingerprint(call.params)
        token = call.params.get("ClientToken") or ""
        # A token holds for one zone: the same token with another zone launches again.
        key = (call.region, zone_asked_for(call), token)
        dry = bool(call.params.get("DryRun"))
        if token and not dry and (remembered := self._tokens.get(key)):
            # Before anything in the request is judged: what it names may be gone since the first launch.
            return self._replay(remembered, fingerprint)
        order = read_order(call, self._machines.disks)
        if dry:
            raise DryRun
        count = self._supply.affordable(call.backend, order.market, order.instance_type, order.most)
        if count < order.least:
            raise self._supply.over_quota(order.market)
        zone = self._supply.zone_with_capacity(order.zones, order.instance_type, order.market)
        self._check_price(order, zone)
        # moto launches MinCount; AWS launches as many as it can, up to MaxCount.
        call.params["MinCount"] = count
        reservation = self._launch(call, order, zone, token)
        if token:
            self._tokens[key] = _Remembered(fingerprint, reservation)
        return reservation

    def _replay(self, remembered: _Remembered, fingerprint: str) -> Any:
        if remembered.fingerprint != fingerprint:
            raise AwsError(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        states = {self._machines.get(instance.id).state for instance in remembered.reservation.instances}
        if states <= {"shutting-down", "terminated"}:
            raise AwsError(
                "IdempotentInstanceTerminated",
                "The client token you have provided is associated with an instance that has been terminated. "
                "Please use a different client token.",
            )
        return remembered.reservation

    def _check_price(self, order: Order, zone: str) -> None:
        price = catalog.spot_price(order.instance_type, order.vcpus, zone, self._clock.time())
        if order.market == "spot" and order.max_price is not None and order.max_price < price:
            raise AwsError(
                "SpotMaxPriceTooLow",
                f"Your Spot request price of {order.max_price:g} is lower than the minimum required Spot "
                f"request fulfillment price of {price:g}.",
            )

    def _launch(self, call: Ec2Call, order: Order, zone: str, token: str) -> Any:
        call.params.setdefault("Placement", {})["AvailabilityZone"] = zone
        reservation = call.to_moto()
        now = self._clock.time()
        key_pair = call.backend.key_pairs.get(call.params.get("KeyName"))
        tags = {spec["ResourceType"]: spec.get("Tags", []) for spec in call.params.get("TagSpecifications") or []}
        for instance in reservation.instances:
            _settle_groups(call.backend, instance)
            for interface in instance.nics.values():
                # AWS deletes what it made for the launch along with the instance.
                interface.delete_on_termination = True
                interface.add_tags(_as_dict(tags.get("network-interface", [])))
            request = None
            if order.market == "spot":
                price = order.max_price or catalog.on_demand_price(order.instance_type, order.vcpus)
                request = self._spot.open(call.backend, instance, created=now, zone=zone, max_price=f"{price:.6f}")
                call.backend.create_tags([request.id], _as_dict(tags.get("spot-instances-request", [])))
                instance.spot_instance_request_id = request.id
                request.visible_at = now + self._rules.value("lag")
            self._machines.admit(
                Machine(
                    instance=instance,
                    backend=call.backend,
                    market=order.market,
                    token=token,
                    user_data=order.user_data,
                    visible_at=now + self._rules.value("lag"),
                    spot=request,
                    public_key=key_pair.public_key.strip() if key_pair else "",
                )
            )
        return reservation


def _as_dict(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def _fingerprint(params: dict[str, Any]) -> str:
    """What has to be the same when a token is used again."""
    rest = {name: value for name, value in params.items() if name not in ("ClientToken", "DryRun")}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()


def _settle_groups(backend: Any, instance: Any) -> None:
    """Show the groups of the launch, wherever in it they were given, else the VPC's default group."""
    if instance.security_groups:
        return
    group_ids = [group.id for interface in instance.nics.values() for group in interface.group_set]
    find: Callable[[str], Any] = backend.get_security_group_from_id
    groups = [find(group_id) for group_id in group_ids]
    instance.security_groups = groups or [backend.get_security_group_from_name("default", instance.vpc_id)]
