"""What a clean-up asks of an account: everything that can be left behind, found by tag, and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .lab import LAG, SHUTTING_DOWN, Lab, error_of

RUN = [{"Key": "gputx:run", "Value": "r1"}]
OURS = [{"Name": "tag-key", "Values": ["gputx:*"]}]


def _tagged(*kinds: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": RUN} for kind in kinds]


@dataclass
class Leftovers:
    """One of each kind that is tagged, with what a run has and what a cut run leaves."""

    instance: str
    request: str
    volume: str
    interface: str
    group: str
    pair: str
    spare_volume: str
    spare_interface: str
    snapshot: str
    template: str


@pytest.fixture
def left(lab: Lab) -> Iterator[Leftovers]:
    ec2 = lab.ec2
    group = ec2.create_security_group(GroupName="left", Description="x", TagSpecifications=_tagged("security-group"))
    pair = ec2.create_key_pair(KeyName="left", KeyType="ed25519", TagSpecifications=_tagged("key-pair"))
    instance = lab.launch(
        SecurityGroupIds=[group["GroupId"]],
        KeyName="left",
        TagSpecifications=_tagged("instance", "volume", "network-interface", "spot-instances-request"),
    )
    lab.account.advance(LAG)
    table = lab.account.table()
    (request,) = [row for row in table["spot_requests"] if row["instance_id"] == instance]
    (volume,) = [row for row in table["volumes"] if row["instance_id"] == instance]
    (interface,) = [row for row in table["network_interfaces"] if row["instance_id"] == instance]
    spare = ec2.create_volume(AvailabilityZone="eu-north-1a", Size=8, TagSpecifications=_tagged("volume"))["VolumeId"]
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    bare = ec2.create_network_interface(
        SubnetId=subnet, Groups=[group["GroupId"]], TagSpecifications=_tagged("network-interface")
    )
    template = ec2.create_launch_template(
        LaunchTemplateName="left",
        LaunchTemplateData={"InstanceType": "g4dn.xlarge"},
        TagSpecifications=_tagged("launch-template"),
    )
    left = Leftovers(
        instance=instance,
        request=request["spot_instance_request_id"],
        volume=volume["volume_id"],
        interface=interface["network_interface_id"],
        group=group["GroupId"],
        pair=pair["KeyPairId"],
        spare_volume=spare,
        spare_interface=bare["NetworkInterface"]["NetworkInterfaceId"],
        snapshot=ec2.create_snapshot(VolumeId=spare, TagSpecifications=_tagged("snapshot"))["SnapshotId"],
        template=template["LaunchTemplate"]["LaunchTemplateId"],
    )
    yield left
    kept = {row["network_interface_id"] for row in lab.account.table()["network_interfaces"]}
    if left.spare_interface in kept:
        ec2.delete_network_interface(NetworkInterfaceId=left.spare_interface)
    ec2.delete_volume(VolumeId=left.spare_volume)
    ec2.delete_snapshot(SnapshotId=left.snapshot)
    ec2.delete_launch_template(LaunchTemplateId=left.template)


def test_everything_is_found_by_its_tag(lab: Lab, left: Leftovers) -> None:
    untagged = lab.ec2.create_security_group(GroupName="foreign", Description="x")["GroupId"]
    kinds: list[tuple[str, str, str, dict[str, Any], set[str]]] = [
        ("describe_volumes", "Volumes", "VolumeId", {}, {left.volume, left.spare_volume}),
        ("describe_snapshots", "Snapshots", "SnapshotId", {"OwnerIds": ["self"]}, {left.snapshot}),
        ("describe_launch_templates", "LaunchTemplates", "LaunchTemplateId", {}, {left.template}),
        ("describe_key_pairs", "KeyPairs", "KeyPairId", {}, {left.pair}),
        ("describe_security_groups", "SecurityGroups", "GroupId", {}, {left.group}),
        ("describe_spot_instance_requests", "SpotInstanceRequests", "SpotInstanceRequestId", {}, {left.request}),
        (
            "describe_network_interfaces",
            "NetworkInterfaces",
            "NetworkInterfaceId",
            {},
            {left.interface, left.spare_interface},
        ),
    ]
    filters = [
        [{"Name": "tag-key", "Values": ["gputx:run"]}],
        OURS,
        [{"Name": "tag:gputx:run", "Values": ["r1"]}],
        [{"Name": "tag:gputx:run", "Values": ["r?", "s*"]}],
    ]
    none = [
        [{"Name": "tag-key", "Values": ["gputx:ru", "run"]}],
        [{"Name": "tag:gputx:run", "Values": ["r2", "R1"]}],
        [*OURS, {"Name": "tag:gputx:run", "Values": ["x"]}],
    ]
    for method, key, name, arguments, wanted in kinds:
        describe = getattr(lab.ec2, method)
        for by_tag in filters:
            found = {row[name] for row in describe(Filters=by_tag, **arguments)[key]}
            assert found == wanted, (method, by_tag)
        for by_tag in none:
            assert describe(Filters=by_tag, **arguments)[key] == [], (method, by_tag)
    lab.ec2.delete_security_group(GroupId=untagged)


def test_images_are_found_by_their_tags(lab: Lab) -> None:
    def found(*patterns: str) -> list[str]:
        filters = [{"Name": "tag-key", "Values": list(patterns)}]
        return [image["ImageId"] for image in lab.ec2.describe_images(Owners=["self"], Filters=filters)["Images"]]

    assert found("gputx:*") == found("gputx:contract") == [lab.image]
    assert found("gputx") == []


def test_network_interfaces_are_found_by_what_they_are_attached_to(lab: Lab, left: Leftovers) -> None:
    def found(**filters: str) -> set[str]:
        given = [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [v]} for name, v in filters.items()]
        rows = lab.ec2.describe_network_interfaces(Filters=given)["NetworkInterfaces"]
        return {row["NetworkInterfaceId"] for row in rows}

    assert found(group_id=left.group) == {left.interface, left.spare_interface}
    assert found(attachment__instance_id=left.instance) == {left.interface}
    assert found(group_id=left.group, status="in-use") == {left.interface}
    assert found(group_id=left.group, status="available") == {left.spare_interface}
    elsewhere = lab.ec2.create_security_group(GroupName="elsewhere", Description="x")["GroupId"]
    lab.ec2.modify_instance_attribute(InstanceId=left.instance, Groups=[elsewhere])
    assert found(group_id=left.group) == {left.spare_interface}
    assert found(group_id=elsewhere) == {left.interface}
    (shown,) = lab.ec2.describe_network_interfaces(NetworkInterfaceIds=[left.interface])["NetworkInterfaces"]
    assert [group["GroupId"] for group in shown["Groups"]] == [elsewhere]
    assert shown["TagSet"] == RUN


def test_a_network_interface_in_use_can_t_be_deleted_and_goes_with_its_instance(lab: Lab, left: Leftovers) -> None:
    delete = lambda: lab.ec2.delete_network_interface(NetworkInterfaceId=left.interface)  # noqa: E731
    assert error_of(delete) == ("InvalidParameterValue", 400)
    lab.ec2.terminate_instances(InstanceIds=[left.instance])
    assert error_of(delete) == ("InvalidParameterValue", 400)
    assert error_of(lambda: lab.ec2.delete_security_group(GroupId=left.group))[0] == "DependencyViolation"
    lab.account.advance(SHUTTING_DOWN)
    assert lab.state(left.instance) == "terminated"
    assert error_of(delete)[0] == "InvalidNetworkInterfaceID.NotFound"
    assert error_of(lambda: lab.ec2.delete_security_group(GroupId=left.group))[0] == "DependencyViolation"
    lab.ec2.delete_network_interface(NetworkInterfaceId=left.spare_interface)
    lab.ec2.delete_security_group(GroupId=left.group)
    tags = lab.ec2.describe_tags(Filters=[{"Name": "key", "Values": ["gputx:run"]}])["Tags"]
    gone = {left.interface, left.volume, left.spare_interface}
    assert not gone & {tag["ResourceId"] for tag in tags}


def test_a_spot_request_is_tagged_later_too(lab: Lab, left: Leftovers) -> None:
    def shown() -> dict[str, str]:
        (request,) = lab.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[left.request])[
            "SpotInstanceRequests"
        ]
        (row,) = [r for r in lab.account.table()["spot_requests"] if r["spot_instance_request_id"] == left.request]
        tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        assert row["tags"] == tags
        return tags

    later = [{"Key": "gputx:part", "Value": "request"}, {"Key": "other", "Value": "1"}]
    lab.ec2.create_tags(Resources=[left.request, left.volume], Tags=later)
    assert shown() == {"gputx:run": "r1", "gputx:part": "request", "other": "1"}
    (volume,) = [row for row in lab.account.table()["volumes"] if row["volume_id"] == left.volume]
    assert volume["tags"] == shown()
    lab.ec2.delete_tags(Resources=[left.request], Tags=[{"Key": "other"}, {"Key": "gputx:part", "Value": "else"}])
    assert shown() == {"gputx:run": "r1", "gputx:part": "request"}
    by_tag = [{"Name": "tag:gputx:part", "Values": ["request"]}]
    found = lab.ec2.describe_spot_instance_requests(Filters=by_tag)["SpotInstanceRequests"]
    assert [request["SpotInstanceRequestId"] for request in found] == [left.request]
    for change in (lab.ec2.create_tags, lab.ec2.delete_tags):
        refused = error_of(lambda change=change: change(Resources=[left.request], Tags=later, DryRun=True))
        assert refused == ("DryRunOperation", 412)


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ("sir-8xq5k9ap", "InvalidSpotInstanceRequestID.NotFound"),
        ("sir-00000000", "InvalidSpotInstanceRequestID.NotFound"),
        ("fleet-12345678-1234-1234-1234-123456789012", "InvalidFleetId.NotFound"),
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("eni-0123456789abcdef0", "InvalidNetworkInterfaceID.NotFound"),
        ("key-0123456789abcdef0", "InvalidKeyPair.NotFound"),
        ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
        ("sg-0123456789abcdef0", "InvalidGroup.NotFound"),
        ("snap-0123456789abcdef0", "InvalidSnapshot.NotFound"),
        ("ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
        ("lt-0123456789abcdef0", "InvalidLaunchTemplateId.NotFound"),
    ],
)
def test_what_is_not_there_can_t_be_tagged(lab: Lab, resource: str, code: str) -> None:
    there = lab.launch()
    for change in (lab.ec2.create_tags, lab.ec2.delete_tags):
        refused = error_of(lambda change=change: change(Resources=[there, resource], Tags=RUN))
        assert refused[0] == code
    assert lab.row(there)["tags"] == {}


def test_the_table_shows_what_is_left_in_every_region(lab: Lab, left: Leftovers) -> None:
    elsewhere = lab.client("ec2", region_name="us-west-2")
    elsewhere.create_key_pair(KeyName="far", KeyType="ed25519", TagSpecifications=_tagged("key-pair"))
    queues = lab.client("sqs")
    url = queues.create_queue(QueueName="left", tags={"gputx:run": "r1"})["QueueUrl"]
    table = lab.account.table()
    tags = {"gputx:run": "r1"}
    assert table["queues"] == [{"url": url, "region": "eu-north-1", "tags": tags}]
    rows = {row["network_interface_id"]: row for row in table["network_interfaces"]}
    home = {"groups": [left.group], "region": "eu-north-1", "tags": tags}
    assert rows == {
        left.interface: {
            "network_interface_id": left.interface,
            "instance_id": left.instance,
            "status": "in-use",
            **home,
        },
        left.spare_interface: {
            "network_interface_id": left.spare_interface,
            "instance_id": None,
            "status": "available",
            **home,
        },
    }
    (snapshot,) = [row for row in table["snapshots"] if row["snapshot_id"] == left.snapshot]
    assert (snapshot["state"], snapshot["tags"]) == ("completed", tags)
    assert table["launch_templates"] == [
        {"launch_template_id": left.template, "name": "left", "region": "eu-north-1", "tags": tags}
    ]
    pairs = {row["name"]: (row["region"], row["tags"]) for row in table["key_pairs"]}
    assert pairs == {"left": ("eu-north-1", tags), "far": ("us-west-2", tags)}
    elsewhere.delete_key_pair(KeyName="far")
    queues.delete_queue(QueueUrl=url)
