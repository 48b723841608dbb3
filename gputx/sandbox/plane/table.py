"""The sandbox's own view of the account: everything, at once, with no visibility lag.

Tests assert on this, never on what a Describe call says alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.account import EmulatedAccount
from gputx.sandbox.plane.machine import Machine


def table(account: EmulatedAccount, endpoint: str) -> dict[str, Any]:
    """Every instance the account ever had, and everything else it has, in all regions.

    Times are seconds since the epoch on the sandbox's clock. Call it under the account's lock.

    Args:
        endpoint: the URL at which clients reach the account: it is part of a queue's.
    """
    return {
        "time": account.clock.time(),
        "in_flight": [
            {"number": call.number, "service": call.service, "action": call.action, "token": call.token}
            for call in account.calls.in_flight()
        ],
        "instances": [_instance(machine) for machine in account.machines.all()],
        **_in_regions(),
        "spot_requests": [
            {
                "spot_instance_request_id": request.id,
                "instance_id": request.instance.id,
                "state": request.state,
                "status": request.status,
                "tags": request.tags,
            }
            for request in account.spot.all()
        ],
        "schedules": [
            {
                "name": schedule.name,
                "group": group.name,
                "region": group.region,
                "expression": schedule.definition["ScheduleExpression"],
                "state": schedule.definition["State"],
                "due": schedule.due,
                "instances": schedule.instances,
                "description": schedule.definition.get("Description", ""),
            }
            for group, schedule in account.schedules.all()
        ],
        "fleets": [
            {
                "fleet_id": fleet.id,
                "type": fleet.type,
                "state": fleet.state,
                "instances": [machine.id for _, machine in fleet.members],
                "region": fleet.call.region,
                "tags": fleet.tags,
            }
            for fleet in account.fleets.all()
        ],
        "schedule_groups": [
            {"name": group.name, "region": group.region, "tags": dict(group.tags)}
            for group in account.schedules.made_groups()
        ],
        "buckets": account.buckets.all(),
        "roles": [
            {"name": role.name, "path": role.path, "tags": _listed(role.tags)} for role in emulator.iam().roles.values()
        ],
        "instance_profiles": [
            {"name": profile.name, "roles": [role.name for role in profile.roles], "tags": _listed(profile.tags)}
            for profile in emulator.iam().instance_profiles.values()
        ],
        "log_groups": account.log_groups.all(),
        "budgets": account.budgets.all(),
        "quota_requests": account.quota_requests.all(),
        "queues": [
            {
                "url": f"{endpoint}/{emulator.ACCOUNT_ID}/{queue.name}",
                "region": queue.region,
                "tags": dict(queue.tags or {}),
            }
            for queue in emulator.queues()
        ],
    }


def count_things(account: EmulatedAccount) -> int:
    """How many instances, key pairs, groups and schedules could be left behind. Call it under the account's lock."""
    live = sum(machine.live for machine in account.machines.all())
    backends = emulator.ec2_regions()
    pairs = sum(len(backend.key_pairs) for backend in backends)
    groups = [group for backend in backends for in_vpc in backend.groups.values() for group in in_vpc.values()]
    return int(live + pairs + len(account.schedules.all()) + sum(group.name != "default" for group in groups))


def _in_regions() -> dict[str, list[dict[str, Any]]]:
    """What moto keeps, each row with its region and its tags."""
    kinds = {
        "security_groups": _security_groups,
        "key_pairs": _key_pairs,
        "volumes": _volumes,
        "network_interfaces": _network_interfaces,
        "snapshots": _snapshots,
        "images": _images,
        "launch_templates": _launch_templates,
    }
    return {
        kind: [
            {**row, "region": backend.region_name, "tags": _tags(backend, resource_id)}
            for backend in emulator.ec2_regions()
            for resource_id, row in rows(backend)
        ]
        for kind, rows in kinds.items()
    }


_Rows = Iterator[tuple[str, dict[str, Any]]]


def _security_groups(backend: Any) -> _Rows:
    for groups in backend.groups.values():
        for group in groups.values():
            default = group.name == "default"
            yield group.id, {"group_id": group.id, "name": group.name, "vpc_id": group.vpc_id, "default": default}


def _key_pairs(backend: Any) -> _Rows:
    for key in backend.key_pairs.values():
        yield key.id, {"key_pair_id": key.id, "name": key.key_name, "type": key.key_type}


def _volumes(backend: Any) -> _Rows:
    for volume in backend.volumes.values():
        row = {"volume_id": volume.id, "size": volume.size, "state": volume.status, "encrypted": volume.encrypted}
        yield volume.id, {**row, "instance_id": volume.attachment.instance.id if volume.attachment else None}


def _network_interfaces(backend: Any) -> _Rows:
    for interface in backend.enis.values():
        row = {"network_interface_id": interface.id, "status": interface.status}
        row["instance_id"] = interface.instance.id if interface.instance else None
        yield interface.id, {**row, "groups": sorted(group.id for group in interface.group_set)}


def _snapshots(backend: Any) -> _Rows:
    for snapshot in backend.snapshots.values():
        yield snapshot.id, {"snapshot_id": snapshot.id, "state": snapshot.status}


def _images(backend: Any) -> _Rows:
    for image in backend.amis.values():
        yield image.id, {"image_id": image.id, "name": image.name, "state": image.state}


def _launch_templates(backend: Any) -> _Rows:
    for template in backend.launch_templates.values():
        yield template.id, {"launch_template_id": template.id, "name": template.name}


def _instance(machine: Machine) -> dict[str, Any]:
    instance = machine.instance
    return {
        "instance_id": machine.id,
        "state": machine.state,
        "live": machine.live,
        "halted": machine.halted,
        "instance_type": instance.instance_type,
        "zone": machine.zone,
        "market": machine.market,
        "image_id": instance.image_id,
        "public_ip": machine.address,
        "key_name": instance.key_name,
        "security_groups": list(machine.groups),
        "client_token": machine.token,
        "launched": machine.since["pending"],
        "since": machine.since,
        "reason": machine.reason,
        "tags": _tags(machine.backend, machine.id),
    }


def _listed(tags: Any) -> dict[str, str]:
    """IAM's tags, in whichever of moto's two shapes."""
    pairs = tags.values() if isinstance(tags, dict) else tags or []
    return {str(tag["Key"]): str(tag["Value"]) for tag in pairs}


def _tags(backend: Any, resource_id: str) -> dict[str, str]:
    return dict(backend.tags.get(resource_id, {}))
