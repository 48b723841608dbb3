"""What AWS has to give when something is to run: vCPUs under a quota, and capacity in a pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gputx.sandbox.plane import catalog, emulator
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.wire import AwsError
from gputx.sandbox.rulebook import RuleBook


class Supply:
    """Asked by a launch, and by the start of stopped instances."""

    def __init__(self, rules: RuleBook, machines: Machines) -> None:
        self._rules = rules
        self._machines = machines

    def affordable(self, backend: Any, market: str, instance_type: str, wanted: int) -> int:
        """How many of the ``wanted`` instances the region's quota leaves room for."""
        vcpus = _counted(instance_type)
        if not vcpus:
            return wanted
        return max(0, min(wanted, math.floor(self._left(backend, market) / vcpus)))

    def check_restart(self, backend: Any, machines: Sequence[Machine]) -> None:
        """Whether all these stopped instances may run again where they are.

        Raises:
            AwsError: VcpuLimitExceeded, InsufficientInstanceCapacity.
        """
        for market in {machine.market for machine in machines}:
            wanted = sum(_counted(machine.instance.instance_type) for machine in machines if machine.market == market)
            if wanted and wanted > self._left(backend, market):
                raise self.over_quota(market)
        for machine in machines:
            self.zone_with_capacity((machine.zone,), machine.instance.instance_type, machine.market)

    def over_quota(self, market: str) -> AwsError:
        """How what the quota forbids is refused."""
        if market == "spot":
            return AwsError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        limit = self._rules.value(f"quota {market}")
        return AwsError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {limit:g} allows for the "
            "instance bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
        )

    def zone_with_capacity(self, zones: tuple[str, ...], instance_type: str, market: str) -> str:
        """The first of the zones that has what is wanted.

        Raises:
            AwsError: InsufficientInstanceCapacity.
        """
        for zone in zones:
            if self._rules.has_capacity(zone, instance_type, market):
                return zone
        if market == "spot":
            raise AwsError(
                "InsufficientInstanceCapacity",
                "There is no Spot capacity available that matches your request.",
            )
        raise AwsError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {instance_type} capacity in the Availability Zone "
            f"you requested ({', '.join(zones)}). Our system will be working on provisioning more.",
        )

    def _left(self, backend: Any, market: str) -> float:
        """vCPUs of the quota that nothing in the region uses. Quotas are per region."""
        used = sum(
            _counted(machine.instance.instance_type)
            for machine in self._machines.all()
            if machine.backend is backend and machine.state in ("pending", "running") and machine.market == market
        )
        return self._rules.value(f"quota {market}") - used


def _counted(instance_type: str) -> int:
    """The vCPUs that an instance takes from a quota; 0 for a type that no quota of ours is about."""
    return (emulator.vcpus(instance_type) or 0) if catalog.counts_against_quota(instance_type) else 0
