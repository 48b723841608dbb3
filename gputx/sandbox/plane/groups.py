"""Security groups and what uses them: a group can't be deleted while a network interface is in it."""

from __future__ import annotations

from typing import Any

from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.wire import AwsError


class GroupActions:
    """DeleteSecurityGroup, and ModifyInstanceAttribute where it moves an instance to other groups."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def delete_security_group(self, call: Ec2Call) -> Any:
        """DeleteSecurityGroup; DependencyViolation while anything is in it or names it."""
        group = self._find(call.backend, call.params)
        if group.name == "default":
            raise AwsError(
                "CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted by a user'
            )
        if self._has_dependants(call.backend, group):
            raise AwsError("DependencyViolation", f"resource {group.id} has a dependent object")
        return call.to_moto()

    def _has_dependants(self, backend: Any, group: Any) -> bool:
        """Whether an instance or a network interface is in a group, or a rule of another group names it."""
        for machine in self._machines.all():
            if machine.live and machine.backend is backend and group in machine.instance.security_groups:
                return True
        # Those of instances were asked about above: moto goes on showing an ended instance's.
        if any(nic.instance is None and group in nic.group_set for nic in backend.enis.values()):
            return True
        others = [other for in_vpc in backend.groups.values() for other in in_vpc.values() if other is not group]
        return any(
            rule.source_group.get("GroupId") == group.id
            for other in others
            for rule in (*other.ingress_rules, *other.egress_rules)
        )

    def modify_instance_attribute(self, call: Ec2Call) -> Any:
        """ModifyInstanceAttribute; only Groups differs from moto."""
        machine = self._machines.get(call.params["InstanceId"], call.backend)
        group_ids = call.params.get("Groups")
        if not group_ids:
            if behavior := call.params.get("InstanceInitiatedShutdownBehavior"):
                machine.instance.instance_initiated_shutdown_behavior = behavior["Value"]
                return None
            return call.to_moto()
        if machine.state in ("shutting-down", "terminated"):
            # Its network interface is on its way out: EC2 may refuse from here on, so a client has to move it
            # before it terminates it.
            raise AwsError(
                "IncorrectInstanceState",
                f"The instance '{machine.id}' is not in a valid state for this operation.",
            )
        groups = [self._find(call.backend, {"GroupId": group_id}) for group_id in group_ids]
        machine.instance.security_groups = groups
        machine.groups = tuple(group.id for group in groups)
        for interface in machine.instance.nics.values():
            interface._group_set = list(groups)  # moto shows these beside its instance's, and filters by them
        return None

    def _find(self, backend: Any, params: dict[str, Any]) -> Any:
        if group_id := params.get("GroupId"):
            group = backend.get_security_group_from_id(group_id)
        else:
            group = backend.get_security_group_from_name(params.get("GroupName", ""))
        if group is None:
            name = group_id or params.get("GroupName", "")
            raise AwsError("InvalidGroup.NotFound", f"The security group '{name}' does not exist")
        return group
