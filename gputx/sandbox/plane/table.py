"""The sandbox's own view of the account: everything, at once, with no visibility lag.

Tests assert on this, never on what a Describe call says alone.
"""

from __future__ import annotations

from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.account import EmulatedAccount
from gputx.sandbox.plane.machine import Machine


def table(account: EmulatedAccount) -> dict[str, Any]:
    """Every instance the account ever had, and every group, key pair, volume, spot request and image it has.

    Times are seconds since the epoch on the sandbox's clock. Call it under the account's lock.
    """
    backends = {id(machine.backend): machine.backend for machine in account.machines.all()}
    home = emulator.ec2(account.region)
    backends.setdefault(id(home), home)
    return {
        "time": account.clock.time(),
        "instances": [_instance(machine) for machine in account.machines.all()],
        "security_groups": [
            {
                "group_id": group.id,
                "name": group.name,
                "vpc_id": group.vpc_id,
                "default": group.name == "default",
                "tags": _tags(backend, group.id),
            }
            for backend in backends.values()
            for groups in backend.groups.values()
            for group in groups.values()
        ],
        "key_pairs": [
            {
                "key_pair_id": key.id,
                "name": key.key_name,
                "type": key.key_type,
                "tags": _tags(backend, key.id),
            }
            for backend in backends.values()
            for key in backend.key_pairs.values()
        ],
        "volumes": [
            {
                "volume_id": volume.id,
                "size": volume.size,
                "state": volume.status,
                "encrypted": volume.encrypted,
                "instance_id": volume.attachment.instance.id if volume.attachment else None,
                "tags": _tags(backend, volume.id),
            }
            for backend in backends.values()
            for volume in backend.volumes.values()
        ],
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
        "images": [
            {"image_id": image.id, "name": image.name, "state": image.state, "tags": _tags(backend, image.id)}
            for backend in backends.values()
            for image in backend.amis.values()
        ],
    }


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


def _tags(backend: Any, resource_id: str) -> dict[str, str]:
    return dict(backend.tags.get(resource_id, {}))
