"""What a launch is put together from: its subnet, its security groups, its disks, checked and completed."""

from __future__ import annotations

from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.wire import AwsError

_VOLUME_TYPES = frozenset({"standard", "io1", "io2", "gp2", "gp3", "sc1", "st1"})


def subnet_of(params: dict[str, Any]) -> str:
    """The subnet a RunInstances request names; empty if none."""
    interfaces = params.get("NetworkInterfaces") or [{}]
    return str(params.get("SubnetId") or interfaces[0].get("SubnetId") or "")


def zone_of(backend: Any, subnet_id: str) -> str:
    """The zone a subnet lies in; empty where there is no such subnet."""
    try:
        return str(backend.get_subnet(subnet_id).availability_zone)
    except emulator.moto_error():
        return ""


def settle_groups(backend: Any, params: dict[str, Any]) -> None:
    """Check every security group of a request, whose subnet exists, and leave only ids in it.

    Raises:
        AwsError: InvalidParameterCombination, InvalidGroup.NotFound, InvalidParameter.
    """
    names = params.pop("SecurityGroups", None) or []
    ids = list(params.get("SecurityGroupIds") or [])
    subnet_id = subnet_of(params)
    if params.get("NetworkInterfaces") and (names or ids):
        raise AwsError(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level security groups may not be specified on the same request",
        )
    if names and subnet_id:
        raise AwsError(
            "InvalidParameterCombination", "The parameter groupName cannot be used with the parameter subnet"
        )
    vpc_id = backend.get_subnet(subnet_id).vpc_id if subnet_id else backend.get_default_vpc().id
    for name in names:
        group = backend.get_security_group_from_name(name, vpc_id)
        if group is None:
            raise AwsError(
                "InvalidGroup.NotFound", f"The security group '{name}' does not exist in default VPC '{vpc_id}'"
            )
        ids.append(group.id)
    if ids:
        params["SecurityGroupIds"] = ids
    for interface in params.get("NetworkInterfaces") or []:
        ids += interface.get("Groups") or []
    for group_id in ids:
        group = backend.get_security_group_from_id(group_id)
        if group is None:
            raise AwsError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        if group.vpc_id != vpc_id:
            where = f"subnet {subnet_id}" if subnet_id else f"VPC {vpc_id}"
            raise AwsError("InvalidParameter", f"Security group {group_id} and {where} belong to different networks.")


def complete_disks(image: Any, params: dict[str, Any]) -> None:
    """Check the disks of a request, and say of them what AWS would take for granted and moto does not.

    The root disk is there unless it was left out by name, has the size and type of the image's unless it was
    given others, and every disk goes with the instance unless told to stay.

    Raises:
        AwsError: InvalidParameterValue, InvalidBlockDeviceMapping.
    """
    (root,) = image.block_device_mappings
    devices = list(params.get("BlockDeviceMappings") or [])
    if root["DeviceName"] not in {device.get("DeviceName") for device in devices}:
        devices.insert(0, {"DeviceName": root["DeviceName"]})
    for device in devices:
        disk = device.setdefault("Ebs", {})
        disk.setdefault("DeleteOnTermination", True)
        if device.get("DeviceName") == root["DeviceName"]:
            disk.setdefault("VolumeType", root["Ebs"]["VolumeType"])
            # What is encrypted in the snapshot can't be had otherwise.
            disk["Encrypted"] = bool(disk.get("Encrypted") or root["Ebs"]["Encrypted"])
            _check_root_size(disk.setdefault("VolumeSize", root["Ebs"]["VolumeSize"]), root["Ebs"])
        kind = disk.get("VolumeType")
        if kind is not None and kind not in _VOLUME_TYPES:
            raise AwsError("InvalidParameterValue", f"Invalid volume type '{kind}'")
    params["BlockDeviceMappings"] = devices


def _check_root_size(size: int, source: dict[str, Any]) -> None:
    if size < source["VolumeSize"]:
        raise AwsError(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than snapshot '{source['SnapshotId']}', expect size >= "
            f"{source['VolumeSize']}GB",
        )
