"""What IAM would be asked for a call to EC2."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.calls import Call
from gputx.sandbox.plane.need import Need, arn, pass_role, tags_in_context

# Which resources an action is asked about: the parameter that names them, and of what type they are.
_TARGETS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "AuthorizeSecurityGroupIngress": (("GroupId", "security-group"),),
    "CancelSpotInstanceRequests": (("SpotInstanceRequestId", "spot-instances-request"),),
    "CopyImage": (("SourceImageId", "image"),),
    "CreateImage": (("InstanceId", "instance"),),
    "CreateSecurityGroup": (("VpcId", "vpc"),),
    "DeleteFleets": (("FleetId", "fleet"),),
    "DeleteKeyPair": (("KeyName", "key-pair"),),
    "DeleteLaunchTemplate": (("LaunchTemplateId", "launch-template"),),
    "DeleteNetworkInterface": (("NetworkInterfaceId", "network-interface"),),
    "DeleteSecurityGroup": (("GroupId", "security-group"),),
    "DeleteSnapshot": (("SnapshotId", "snapshot"),),
    "DeleteVolume": (("VolumeId", "volume"),),
    "DeregisterImage": (("ImageId", "image"),),
    "GetConsoleOutput": (("InstanceId", "instance"),),
    "ModifyImageAttribute": (("ImageId", "image"),),
    "ModifyInstanceAttribute": (("InstanceId", "instance"), ("GroupId", "security-group")),
    "RebootInstances": (("InstanceId", "instance"),),
    "RunInstances": (
        ("ImageId", "image"),
        ("KeyName", "key-pair"),
        ("SubnetId", "subnet"),
        ("NetworkInterface.1.SubnetId", "subnet"),
        ("SecurityGroupId", "security-group"),
        ("NetworkInterface.1.SecurityGroupId", "security-group"),
    ),
    "StartInstances": (("InstanceId", "instance"),),
    "StopInstances": (("InstanceId", "instance"),),
    "TerminateInstances": (("InstanceId", "instance"),),
}

# What an action makes, where that is asked about as well. A key's name is known before.
_MAKES: Mapping[str, tuple[str, ...]] = {
    "CopyImage": ("image", "snapshot"),
    "CreateImage": ("image", "snapshot"),
    "CreateSecurityGroup": ("security-group",),
    "ImportKeyPair": ("key-pair",),
    # The Reference does not list the request for spot; published policies that are in use grant it all the same.
    "RunInstances": ("instance", "network-interface", "spot-instances-request", "volume"),
}

_OF_NO_ACCOUNT = frozenset({"image", "snapshot"})
_KINDS = {
    "ami": "image",
    "fleet": "fleet",
    "i": "instance",
    "key": "key-pair",
    "lt": "launch-template",
    "eni": "network-interface",
    "sg": "security-group",
    "sir": "spot-instances-request",
    "snap": "snapshot",
    "vol": "volume",
}
_TAG = re.compile(r"((?:TagSpecification\.(\d+)\.)?Tag\.\d+)\.Key")


def needs(call: Call) -> list[Need]:
    """What EC2 would ask IAM."""
    action, params = f"ec2:{call.action}", call.params
    given = _given_tags(params)
    if call.action in {"CreateTags", "DeleteTags"}:
        said = tags_in_context("request", given.get("", {}))
        resources = [(_KINDS.get(name.partition("-")[0], "?"), name) for name in _values(params, "ResourceId")]
        there = [each for each in resources if _is_there(call, *each)]
        return [Need(action, _arn(call, *each), {**_seen(call, *each), **said}) for each in there]
    named = [(kind, name) for key, kind in _TARGETS.get(call.action, ()) for name in _values(params, key)]
    # Of what is not there nothing is asked: EC2 answers that it is not found.
    named = [(kind, name) for kind, name in named if _is_there(call, kind, name)]
    if not named and call.action in _TARGETS and call.action not in _MAKES:
        return []
    asked = [Need(action, _arn(call, kind, name), _seen(call, kind, name)) for kind, name in named]
    for kind in _MAKES.get(call.action, ()):
        if kind == "spot-instances-request" and params.get("InstanceMarketOptions.MarketType") != "spot":
            continue
        resource = _arn(call, kind, str(params.get("KeyName", "*")) if kind == "key-pair" else "*")
        labels = tags_in_context("request", given.get(kind, {}))
        asked.append(Need(action, resource, {**labels, **_wanted(kind, params)}))
        if labels:
            # Tags that come with what makes a thing are a question of their own.
            asked.append(Need("ec2:CreateTags", resource, {**labels, "ec2:createaction": call.action}))
    return [*(asked or [Need(action)]), *_passed_role(params)]


def _wanted(kind: str, params: Mapping[str, Any]) -> dict[str, str]:
    """What conditions can see of what a launch is to make."""
    if kind == "instance":
        seen = {
            "ec2:instancetype": params.get("InstanceType"),
            "ec2:metadatahttptokens": params.get("MetadataOptions.HttpTokens"),
            "ec2:instancemarkettype": params.get("InstanceMarketOptions.MarketType", "on-demand"),
        }
    elif kind == "volume":
        seen = {
            "ec2:encrypted": params.get("BlockDeviceMapping.1.Ebs.Encrypted", "false"),
            "ec2:volumetype": params.get("BlockDeviceMapping.1.Ebs.VolumeType"),
        }
    else:
        return {}
    return {key: str(value) for key, value in seen.items() if value is not None}


def _passed_role(params: Mapping[str, Any]) -> Iterator[Need]:
    wanted = {params.get("IamInstanceProfile.Name"), params.get("IamInstanceProfile.Arn")} - {None}
    for profile in emulator.iam().instance_profiles.values() if wanted else ():
        if {profile.name, profile.arn} & wanted:
            yield from (pass_role(role.arn, "ec2.amazonaws.com") for role in profile.roles)


def _is_there(call: Call, kind: str, name: str) -> bool:
    backend = _backend(call, kind)
    match kind:
        case "instance":
            return any(name == instance.id for each in backend.reservations.values() for instance in each.instances)
        case "security-group":
            return any(name in groups for groups in backend.groups.values())
        case "image" | "launch-template" | "network-interface" | "snapshot" | "volume":
            known = {"image": "amis", "network-interface": "enis"}.get(kind, kind.replace("-", "_") + "s")
            return name in getattr(backend, known)
        case "fleet" | "spot-instances-request":
            return bool(backend.tags.get(name))  # moto has none of these; all that gputx makes or ends has a tag
    return True  # a key pair is known by its name, whether it is there or not


def _backend(call: Call, kind: str) -> Any:
    """moto's region that a thing is in: an image is copied from another to the one that is asked."""
    source = call.params.get("SourceRegion") if kind == "image" else None
    return emulator.ec2(str(source or call.region))


def _seen(call: Call, kind: str, name: str) -> dict[str, Any]:
    """The tags a thing has now; none where there is no such thing."""
    backend = _backend(call, kind)
    if kind == "key-pair":
        named = [pair for pair in backend.key_pairs.values() if name in {pair.id, pair.key_name}]
        name = named[0].id if named else name
    owner = {"ec2:owner": str(backend.amis[name].owner_id)} if kind == "image" else {}
    return {**tags_in_context("resource", backend.tags.get(name, {})), **owner}


def _arn(call: Call, kind: str, name: str) -> str:
    account = "" if kind in _OF_NO_ACCOUNT else emulator.ACCOUNT_ID
    region = str(call.params.get("SourceRegion") or call.region) if name != "*" else call.region
    return arn("ec2", region, f"{kind}/{name}", account)


def _values(params: Mapping[str, Any], key: str) -> list[str]:
    """A parameter that is given once, or numbered."""
    numbered = re.compile(re.escape(key) + r"(?:\.\d+)?")
    return [str(value) for name, value in params.items() if numbered.fullmatch(name)]


def _given_tags(params: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Tags in a request, by the type of resource that they are for; "" where the request has no types."""
    given: dict[str, dict[str, str]] = {}
    for name, key in params.items():
        if found := _TAG.fullmatch(name):
            kind = str(params.get(f"TagSpecification.{found[2]}.ResourceType", "")) if found[2] else ""
            given.setdefault(kind, {})[str(key)] = str(params.get(f"{found[1]}.Value", ""))
    return given
