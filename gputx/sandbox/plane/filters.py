"""The filters of DescribeInstances and DescribeInstanceStatus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.matching import by_tags, passes

_INSTANCE_MORE = (
    r"affinity|capacity-reservation.*|current-instance-boot-mode|enclave-options\.enabled|"
    r"hibernation-options\.configured|host-id|iam-instance-profile\.(id|name)|instance\..*|kernel-id|"
    r"launch-index|maintenance-options\..*|metadata-options\..*|monitoring-state|network-interface\..*|"
    r"network-performance-options\..*|operator\..*|outpost-arn|placement-group-name|placement-partition-number|"
    r"platform|platform-details|private-dns-name-options\..*|product-code\.type|ramdisk-id|reason|requester-id|"
    r"tpm-support|usage-operation.*|block-device-mapping\..*|ipv6-address|availability-zone-id|boot-mode"
)


def instance_passes(machine: Machine, name: str, patterns: list[str]) -> bool:
    """A filter of DescribeInstances.

    Raises:
        AwsError: NotEmulated, InvalidParameterValue.
    """
    instance = machine.instance
    said = by_tags(name, patterns, machine.backend.tags.get(machine.id, {}))
    if said is not None:
        return said
    known: dict[str, Callable[[], Iterable[object]]] = {
        "architecture": lambda: [instance.architecture],
        "availability-zone": lambda: [machine.zone],
        "block-device-mapping.device-name": lambda: list(instance.block_device_mapping),
        "block-device-mapping.volume-id": lambda: [d.volume_id for d in instance.block_device_mapping.values()],
        "client-token": lambda: [machine.token],
        "dns-name": lambda: _given(instance.public_dns_name),
        "group-id": lambda: machine.groups,
        "group-name": lambda: [group.name for group in instance.security_groups],
        "hypervisor": lambda: [instance.hypervisor],
        "iam-instance-profile.arn": lambda: _profile_arns(machine),
        "image-id": lambda: [instance.image_id],
        "instance-id": lambda: [machine.id],
        "instance-lifecycle": lambda: ["spot"] if machine.spot else [],
        "instance-state-code": lambda: [emulator.state_of(machine.state)["Code"]],
        "instance-state-name": lambda: [machine.state],
        "instance-type": lambda: [instance.instance_type],
        "instance.group-id": lambda: machine.groups,
        "instance.group-name": lambda: [group.name for group in instance.security_groups],
        "ip-address": lambda: _given(instance.public_ip),
        "key-name": lambda: _given(instance.key_name),
        "launch-time": lambda: [instance.launch_time],
        "metadata-options.http-endpoint": lambda: [instance.metadata_options.http_endpoint],
        "metadata-options.http-put-response-hop-limit": lambda: [instance.metadata_options.http_put_response_hop_limit],
        "metadata-options.http-tokens": lambda: [instance.metadata_options.http_tokens],
        "network-interface.addresses.association.public-ip": lambda: _given(instance.public_ip),
        "network-interface.addresses.private-ip-address": lambda: [n.private_ip_address for n in _nics(instance)],
        "network-interface.group-id": lambda: machine.groups,
        "network-interface.network-interface-id": lambda: [nic.id for nic in _nics(instance)],
        "network-interface.subnet-id": lambda: [nic.subnet.id for nic in _nics(instance)],
        "network-interface.vpc-id": lambda: [nic.subnet.vpc_id for nic in _nics(instance)],
        "owner-id": lambda: [instance.owner_id],
        "private-dns-name": lambda: [instance.private_dns_name],
        "private-ip-address": lambda: [instance.private_ip],
        "product-code": lambda: instance.product_codes,
        "reservation-id": lambda: [
            reservation.id for reservation in machine.backend.reservations.values() if instance in reservation.instances
        ],
        "root-device-name": lambda: [instance.root_device_name],
        "root-device-type": lambda: [instance.root_device_type],
        "source-dest-check": lambda: [instance.source_dest_check],
        "spot-instance-request-id": lambda: [machine.spot.id] if machine.spot else [],
        "state-reason-code": lambda: _given(instance.state_reason.code),
        "subnet-id": lambda: [instance.subnet_id],
        "tenancy": lambda: [instance.placement.tenancy],
        "virtualization-type": lambda: [instance.virtualization_type],
        "vpc-id": lambda: [instance.vpc_id],
    }
    return passes("DescribeInstances", name, patterns, known, _INSTANCE_MORE)


def status_passes(machine: Machine, name: str, patterns: list[str]) -> bool:
    """A filter of DescribeInstanceStatus.

    Raises:
        AwsError: NotEmulated, InvalidParameterValue.
    """
    health = machine.state == "running"
    known: dict[str, Callable[[], Iterable[object]]] = {"availability-zone": lambda: [machine.zone]}
    known["instance-state-code"] = lambda: [emulator.state_of(machine.state)["Code"]]
    known["instance-state-name"] = lambda: [machine.state]
    for kind in ("instance", "system"):
        known[f"{kind}-status.status"] = lambda: ["ok" if health else "not-applicable"]
        known[f"{kind}-status.reachability"] = lambda: ["passed"] if health else []
    more = r"event\..*|availability-zone-id|operator\..*|attached-ebs-status\.status"
    return passes("DescribeInstanceStatus", name, patterns, known, more)


def _given(value: object) -> list[object]:
    return [] if value is None else [value]


def _nics(instance: Any) -> list[Any]:
    return list(instance.nics.values())


def _profile_arns(machine: Machine) -> list[object]:
    association = machine.backend.iam_instance_profile_associations.get(machine.id)
    return [association.iam_instance_profile.arn] if association else []
