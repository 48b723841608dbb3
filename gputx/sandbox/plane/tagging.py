"""CreateTags and DeleteTags: on what exists and on nothing else, whoever keeps it, moto or this layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.orders import check_tag_keys
from gputx.sandbox.plane.wire import AwsError, DryRun, NotEmulated

# What moto does not look for, by the beginning of its id: (error code, what EC2 calls it).
_UNKNOWN = {
    "sir-": ("InvalidSpotInstanceRequestID.NotFound", "spot instance request ID"),
    "fleet-": ("InvalidFleetId.NotFound", "fleet ID"),
    "eni-": ("InvalidNetworkInterfaceID.NotFound", "networkInterface ID"),
    "key-": ("InvalidKeyPair.NotFound", "key pair ID"),
}
# moto refuses the ids of these, which only this layer keeps.
_OURS = ("sir-", "fleet-")


class TagActions:
    """All resources are looked for before any is tagged.

    Args:
        ours: the ids of the spot requests and fleets of a region, given moto's account there.
    """

    def __init__(self, machines: Machines, ours: Callable[[Any], Iterable[str]]) -> None:
        self._machines = machines
        self._ours = ours

    def create_tags(self, call: Ec2Call) -> None:
        """CreateTags."""
        check_tag_keys(tag["Key"] for tag in call.params.get("Tags") or [])
        ours = self._check(call)
        tags = {tag["Key"]: tag.get("Value", "") for tag in call.params.get("Tags") or []}
        self._change(call, lambda: call.backend.create_tags(ours, tags))

    def delete_tags(self, call: Ec2Call) -> None:
        """DeleteTags: by key, or by key and value where a value is given."""
        if not call.params.get("Tags"):
            raise NotEmulated("ec2", "DeleteTags", "without Tags")
        ours = self._check(call)
        call.backend.do_resources_exist(_moto_s(call))
        tags = {tag["Key"]: tag.get("Value") for tag in call.params["Tags"]}
        self._change(call, lambda: call.backend.delete_tags(ours, tags))

    def _check(self, call: Ec2Call) -> list[str]:
        """Look for what moto would not; returns the ids that moto must not be asked about."""
        backend, ids = call.backend, call.params.get("Resources") or []
        known = {*self._ours(backend), *backend.enis, *(pair.id for pair in backend.key_pairs.values())}
        for resource_id in ids:
            kind = next((kind for kind in _UNKNOWN if resource_id.startswith(kind)), None)
            if resource_id.startswith("i-"):
                self._machines.get(resource_id, backend)
            elif kind and resource_id not in known:
                code, name = _UNKNOWN[kind]
                raise AwsError(code, f"The {name} '{resource_id}' does not exist")
        return [resource_id for resource_id in ids if resource_id.startswith(_OURS)]

    def _change(self, call: Ec2Call, change_ours: Callable[[], None]) -> None:
        rest = _moto_s(call)
        if rest or not call.params.get("Resources"):
            call.params["Resources"] = rest
            call.to_moto()
        elif call.params.get("DryRun"):
            raise DryRun
        change_ours()


def _moto_s(call: Ec2Call) -> list[str]:
    return [resource_id for resource_id in call.params.get("Resources") or [] if not resource_id.startswith(_OURS)]
