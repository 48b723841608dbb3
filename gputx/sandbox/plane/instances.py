"""The EC2 actions on instances that were launched: describe them, change their state, read their console."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gputx.sandbox.clock import SandboxClock
from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.filters import instance_passes, status_passes
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.supply import Supply
from gputx.sandbox.plane.wire import AwsError, DryRun, decode_page, encode_page

_PAGE = 1000


class InstanceActions:
    """Describe sees an instance once its visibility lag is over; what changes one finds it at once."""

    def __init__(self, clock: SandboxClock, machines: Machines, supply: Supply) -> None:
        self._clock = clock
        self._machines = machines
        self._supply = supply

    def describe_instances(self, call: Ec2Call) -> dict[str, Any]:
        """DescribeInstances, in pages of whole reservations."""
        if call.params.get("InstanceIds") and call.params.get("MaxResults"):
            raise AwsError(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            )
        shown = {machine.id for machine in self._select(call, instance_passes)}
        reservations = []
        for reservation in call.backend.reservations.values():
            instances = [instance for instance in reservation.instances if instance.id in shown]
            if instances:
                page = copy.copy(reservation)
                page.instances = instances
                reservations.append(page)
        start = decode_page(call.params.get("NextToken"))
        end = start + int(call.params.get("MaxResults") or _PAGE)
        following = encode_page(end) if end < len(reservations) else None
        return {"Reservations": reservations[start:end], "NextToken": following}

    def describe_instance_status(self, call: Ec2Call) -> dict[str, Any]:
        """DescribeInstanceStatus; only running instances unless all are asked for."""
        machines = self._select(call, status_passes)
        if not call.params.get("IncludeAllInstances"):
            machines = [machine for machine in machines if machine.state == "running"]
        return {"InstanceStatuses": [machine.instance for machine in machines]}

    def terminate_instances(self, call: Ec2Call) -> dict[str, Any]:
        """TerminateInstances: one id that does not exist, and none of them is terminated."""
        return {"TerminatingInstances": self.terminate(call.params, call.backend)}

    def terminate(self, params: dict[str, Any], backend: Any) -> list[dict[str, Any]]:
        """What TerminateInstances does, whoever asks for it; returns each instance's change of state.

        Raises:
            AwsError: with the code AWS would answer.
        """

        def check(machines: list[Machine]) -> None:
            for machine in machines:
                if machine.instance.disable_api_termination:
                    raise AwsError(
                        "OperationNotPermitted",
                        f"The instance '{machine.id}' may not be terminated. Modify its 'disableApiTermination' "
                        "instance attribute and try again.",
                    )

        return self._change(params, backend, self._machines.terminate, check)

    def stop_instances(self, call: Ec2Call) -> dict[str, Any]:
        return {"StoppingInstances": self._change(call.params, call.backend, self._machines.stop)}

    def start_instances(self, call: Ec2Call) -> dict[str, Any]:
        """StartInstances: what was stopped has to find room under the quota and in its pool again."""

        def check(machines: list[Machine]) -> None:
            self._supply.check_restart(call.backend, [machine for machine in machines if machine.state == "stopped"])

        return {"StartingInstances": self._change(call.params, call.backend, self._machines.start, check)}

    def reboot_instances(self, call: Ec2Call) -> None:
        self._change(call.params, call.backend, self._machines.reboot)

    def get_console_output(self, call: Ec2Call) -> dict[str, Any]:
        """GetConsoleOutput: what the guest has written so far."""
        machine = self._machines.get(call.params["InstanceId"], call.backend)
        output = base64.b64encode(self._machines.console(machine).encode()).decode()
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        return {"InstanceId": machine.id, "Timestamp": now, "Output": output}

    def _change(
        self,
        params: dict[str, Any],
        backend: Any,
        change: Callable[[Machine], None],
        check: Callable[[list[Machine]], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Apply ``change`` to each instance named, once all of them are known to exist."""
        ids = params.get("InstanceIds") or []
        if not ids:
            raise AwsError("MissingParameter", "The request must contain the parameter InstanceId")
        machines = [self._machines.get(instance_id, backend) for instance_id in ids]
        if check:
            check(machines)
        if params.get("DryRun"):
            raise DryRun
        changes = []
        for machine in machines:
            before = machine.state
            change(machine)
            changes.append(
                {
                    "InstanceId": machine.id,
                    "PreviousState": emulator.state_of(before),
                    "CurrentState": emulator.state_of(machine.state),
                }
            )
        return changes

    def _select(self, call: Ec2Call, passes: Callable[[Machine, str, list[str]], bool]) -> list[Machine]:
        """The instances this call may see: visible yet, named if any are named, through every filter."""
        ids = call.params.get("InstanceIds") or []
        now = self._clock.time()
        machines = [self._machines.get(instance_id, call.backend) for instance_id in ids]
        for machine in machines:
            if machine.visible_at > now:
                raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{machine.id}' does not exist")
        if not ids:
            machines = [m for m in self._machines.all() if m.backend is call.backend and m.visible_at <= now]
        for name, values in call.filters.items():
            machines = [machine for machine in machines if passes(machine, name, values)]
        return machines
