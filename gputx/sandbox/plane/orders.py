"""What a RunInstances request asks for, once everything it names is known to exist."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.parts import complete_disks, settle_groups, subnet_of, zone_of
from gputx.sandbox.plane.wire import AwsError, NotEmulated

# EC2's limit, before base64.
USER_DATA_BYTES = 16384
_TOKEN_CHARACTERS = 64
_RESERVED_TAG_PREFIX = "aws:"


@dataclass(frozen=True)
class Order:
    """A launch that AWS has understood: everything in it exists. ``zones``: where it may go, best first."""

    image_id: str
    instance_type: str
    vcpus: int
    market: str
    max_price: float | None
    zones: tuple[str, ...]
    least: int
    most: int
    user_data: bytes


def read_order(call: Ec2Call, disks: Container[str]) -> Order:
    """Understand a RunInstances request, in the order in which EC2 finds fault.

    Args:
        call: its launch template is applied; its parameters are completed with the defaults that moto does not know.
        disks: ids of the images that can boot here.

    Raises:
        AwsError: with the code AWS would answer.
    """
    params, backend = call.params, call.backend
    least, most = _counts(params)
    if len(params.get("ClientToken") or "") > _TOKEN_CHARACTERS:
        raise AwsError("InvalidParameterValue", f"Client token must not exceed {_TOKEN_CHARACTERS} characters")
    for specification in params.get("TagSpecifications") or []:
        check_tag_keys(tag["Key"] for tag in specification.get("Tags") or [])
    market, max_price = _market(params)
    image_id = params.get("ImageId") or ""
    _check_image(backend, image_id, disks)
    instance_type = params.get("InstanceType") or "m1.small"
    vcpus = emulator.vcpus(instance_type)
    if vcpus is None:
        raise AwsError("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")
    _check_architecture(backend.amis[image_id].architecture, instance_type)
    if (key := params.get("KeyName")) and key not in backend.key_pairs:
        raise AwsError("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")
    profile = params.get("IamInstanceProfile") or {}
    for field in ("Name", "Arn"):
        if profile.get(field) and not emulator.has_instance_profile(field, profile[field]):
            raise AwsError(
                "InvalidParameterValue",
                f"Value ({profile[field]}) for parameter iamInstanceProfile.{field.lower()} is invalid. "
                f"Invalid IAM Instance Profile {'name' if field == 'Name' else 'ARN'}",
            )
    zones = _zones(call, instance_type)
    settle_groups(backend, params)
    complete_disks(backend.amis[image_id], params)
    return Order(
        image_id=image_id,
        instance_type=instance_type,
        vcpus=vcpus,
        market=market,
        max_price=max_price,
        zones=zones,
        least=least,
        most=most,
        user_data=_user_data(params.get("UserData")),
    )


def zone_asked_for(call: Ec2Call) -> str:
    """The zone a RunInstances request names, itself or by its subnet; empty where it leaves AWS the choice."""
    asked = (call.params.get("Placement") or {}).get("AvailabilityZone")
    subnet_id = subnet_of(call.params)
    return (zone_of(call.backend, subnet_id) if subnet_id else "") or asked or ""


def check_tag_keys(keys: Iterable[str]) -> None:
    """Refuse the keys that only AWS may give.

    Raises:
        AwsError: InvalidParameterValue.
    """
    for key in keys:
        if key.startswith(_RESERVED_TAG_PREFIX):
            raise AwsError(
                "InvalidParameterValue",
                f"Tag keys starting with '{_RESERVED_TAG_PREFIX}' are reserved for internal use",
            )


def _counts(params: dict[str, Any]) -> tuple[int, int]:
    least, most = int(params.get("MinCount", 1)), int(params.get("MaxCount", 1))
    if least < 1:
        raise AwsError("InvalidParameterValue", f"Invalid value '{least}' for MinCount.")
    if most < least:
        raise AwsError("InvalidParameterValue", f"Invalid value '{most}' for MaxCount.")
    return least, most


def _market(params: dict[str, Any]) -> tuple[str, float | None]:
    """(market, highest spot price if one is given), with what the market allows on power-off."""
    asked = params.get("InstanceMarketOptions") or {}
    options = asked.get("SpotOptions") or {}
    kind = asked.get("MarketType")
    behavior = params.get("InstanceInitiatedShutdownBehavior")
    if kind == "capacity-block":
        raise NotEmulated("ec2", "RunInstances", "from a capacity block")
    if kind not in (None, "spot"):
        raise AwsError("InvalidParameterValue", f"Invalid value '{kind}' for InstanceMarketOptions.MarketType.")
    if behavior not in (None, "stop", "terminate"):
        raise AwsError("InvalidParameterValue", f"Invalid value '{behavior}' for InstanceInitiatedShutdownBehavior.")
    if kind is None:
        return "on-demand", None
    if options.get("SpotInstanceType", "one-time") != "one-time":
        raise NotEmulated("ec2", "RunInstances", "for a persistent spot request")
    if behavior == "stop":
        raise AwsError(
            "InvalidParameterCombination",
            "InstanceInitiatedShutdownBehavior 'stop' can't be used with a one-time Spot Instance request.",
        )
    price = options.get("MaxPrice")
    if not price:
        return "spot", None
    try:
        value = float(price)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise AwsError("InvalidParameterValue", f"Invalid value '{price}' for the maximum Spot price.")
    return "spot", value


def _check_architecture(image: str, instance_type: str) -> None:
    offered = emulator.architectures(instance_type)
    if image not in offered:
        raise AwsError(
            "InvalidParameterValue",
            f"The architecture '{','.join(offered)}' of the specified instance type does not match the architecture "
            f"'{image}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, "
            "and try again.",
        )


def _check_image(backend: Any, image_id: str, disks: Container[str]) -> None:
    if not re.fullmatch(r"ami-[0-9a-f]{8,17}", image_id):
        raise AwsError("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    image = backend.amis.get(image_id)
    if image is None or image.state == "deregistered":
        raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    if image.state != "available":
        raise AwsError("InvalidAMIID.Unavailable", f"The image ID '[{image_id}]' is not available")
    if image_id not in disks:
        raise NotEmulated("ec2", "RunInstances", f"of {image_id}, an image with no disk in this sandbox")


def _zones(call: Ec2Call, instance_type: str) -> tuple[str, ...]:
    params, backend = call.params, call.backend
    sold = [
        offer["Location"] for offer in emulator.offered_types(call.region) if offer["InstanceType"] == instance_type
    ]
    zones = sorted(zone.name for zone in backend.describe_availability_zones())
    subnet_id = subnet_of(params)
    asked = (params.get("Placement") or {}).get("AvailabilityZone")
    if subnet_id:
        zone = zone_of(backend, subnet_id)
        if not zone:
            raise AwsError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
        if asked and asked != zone:
            raise AwsError("InvalidParameterValue", f"The subnet '{subnet_id}' is not in zone '{asked}'.")
        asked = zone
    if asked and asked not in zones:
        raise AwsError("InvalidParameterValue", f"Invalid availability zone: [{asked}]")
    if (asked and asked not in sold) or not sold:
        where = f"Availability Zone ({asked})" if asked else "region"
        raise AwsError(
            "Unsupported",
            f"Your requested instance type ({instance_type}) is not supported in your requested {where}. "
            f"Please retry your request by not specifying an Availability Zone or choosing "
            f"{', '.join(sorted(sold)) or 'another region'}.",
        )
    if not subnet_id and backend.get_default_vpc() is None:
        raise AwsError(
            "VPCIdNotSpecified",
            "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
        )
    return (asked,) if asked else tuple(sorted(sold))


def _user_data(encoded: str | bytes | None) -> bytes:
    if not encoded:
        return b""
    try:
        user_data = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise AwsError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from error
    if len(user_data) > USER_DATA_BYTES:
        raise AwsError("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")
    return user_data
