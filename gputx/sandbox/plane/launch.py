"""RunInstances: whether and where an order is carried out, and what a client token promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gputx.sandbox.clock import SandboxClock
from gputx.sandbox.plane import catalog
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.orders import Order, read_order, zone_asked_for
from gputx.sandbox.plane.spot import SpotRequests
from gputx.sandbox.plane.supply import Supply
from gputx.sandbox.plane.templates import apply_template
from gputx.sandbox.plane.tokens import Tokens, fingerprint_of
from gputx.sandbox.plane.wire import AwsError, DryRun
from gputx.sandbox.rulebook import RuleBook


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
        self._tokens = Tokens()

    def run_instances(self, call: Ec2Call) -> Any:
        """The reservation, as moto has it.

        Raises:
            AwsError: with the code AWS would answer.
        """
        fingerprint = fingerprint_of(call.params)
        token = call.params.get("ClientToken") or ""
        # A token holds for one zone: the same token with another zone launches again.
        scope = (call.region, zone_asked_for(call))
        dry = bool(call.params.get("DryRun"))
        if not dry and (remembered := self._tokens.recall(scope, token, fingerprint)):
            # Before anything in the request is judged: what it names may be gone since the first launch.
            return self._replay(remembered)
        marks = apply_template(call)
        order = read_order(call, self._machines.disks)
        if dry:
            raise DryRun
        reservation = self.launch(call, order, token, marks)
        self._tokens.keep(scope, token, fingerprint, reservation)
        return reservation

    def launch(self, call: Ec2Call, order: Order, token: str, marks: dict[str, str]) -> Any:
        """Carry out an order, as far as quota and capacity go; returns the reservation.

        Args:
            call: the RunInstances request that the order was read from.
            token: what the instances are described with.
            marks: tags that only AWS may give.

        Raises:
            AwsError: with the code AWS would answer.
        """
        count = self._supply.affordable(call.backend, order.market, order.instance_type, order.most)
        if count < order.least:
            raise self._supply.over_quota(order.market)
        zone = self._supply.zone_with_capacity(order.zones, order.instance_type, order.market)
        self._check_price(order, zone)
        # moto launches MinCount; AWS launches as many as it can, up to MaxCount.
        call.params["MinCount"] = count
        return self._launch(call, order, zone, token, marks)

    def _replay(self, reservation: Any) -> Any:
        states = {self._machines.get(instance.id).state for instance in reservation.instances}
        if states <= {"shutting-down", "terminated"}:
            raise AwsError(
                "IdempotentInstanceTerminated",
                "The client token you have provided is associated with an instance that has been terminated. "
                "Please use a different client token.",
            )
        return reservation

    def _check_price(self, order: Order, zone: str) -> None:
        price = catalog.spot_price(order.instance_type, order.vcpus, zone, self._clock.time())
        if order.market == "spot" and order.max_price is not None and order.max_price < price:
            raise AwsError(
                "SpotMaxPriceTooLow",
                f"Your Spot request price of {order.max_price:g} is lower than the minimum required Spot "
                f"request fulfillment price of {price:g}.",
            )

    def _launch(self, call: Ec2Call, order: Order, zone: str, token: str, marks: dict[str, str]) -> Any:
        call.params.setdefault("Placement", {})["AvailabilityZone"] = zone
        reservation = call.to_moto()
        now = self._clock.time()
        key_pair = call.backend.key_pairs.get(call.params.get("KeyName"))
        tags = {spec["ResourceType"]: spec.get("Tags", []) for spec in call.params.get("TagSpecifications") or []}
        for instance in reservation.instances:
            _settle_groups(call.backend, instance)
            instance.add_tags(marks)
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


def _settle_groups(backend: Any, instance: Any) -> None:
    """Show the groups of the launch, wherever in it they were given, else the VPC's default group."""
    if instance.security_groups:
        return
    group_ids = [group.id for interface in instance.nics.values() for group in interface.group_set]
    find: Callable[[str], Any] = backend.get_security_group_from_id
    groups = [find(group_id) for group_id in group_ids]
    instance.security_groups = groups or [backend.get_security_group_from_name("default", instance.vpc_id)]
