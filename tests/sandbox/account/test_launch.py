"""RunInstances: what it refuses, what a client token promises, quotas, capacity and prices."""

from __future__ import annotations

from typing import Any

import pytest

from .lab import PENDING, SHUTTING_DOWN, Lab, error_of

_NIC = {"DeviceIndex": 0, "AssociatePublicIpAddress": True}
_RESERVED_TAG = {"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": "y"}]}


def _spot(**options: Any) -> dict[str, Any]:
    return {"InstanceMarketOptions": {"MarketType": "spot", **options}}


def _disk(**disk: Any) -> dict[str, Any]:
    return {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}]}


def test_the_same_token_launches_once(lab: Lab) -> None:
    first = lab.launch(ClientToken="once")
    assert lab.launch(ClientToken="once") == first
    assert len([row for row in lab.account.table()["instances"] if row["live"]]) == 1


def test_a_token_holds_for_one_zone(lab: Lab) -> None:
    first = lab.launch(ClientToken="zonal")
    second = lab.launch(ClientToken="zonal", Placement={"AvailabilityZone": "eu-north-1b"})
    assert first != second


def test_a_token_with_other_parameters_is_a_mismatch(lab: Lab) -> None:
    lab.launch(ClientToken="mismatch")
    order = lab.order(ClientToken="mismatch", InstanceType="g4dn.2xlarge")
    assert error_of(lambda: lab.ec2.run_instances(**order)) == ("IdempotentParameterMismatch", 400)


def test_the_token_of_an_ended_instance_is_spent(lab: Lab) -> None:
    instance_id = lab.launch(ClientToken="spent")
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    order = lab.order(ClientToken="spent")
    assert error_of(lambda: lab.ec2.run_instances(**order))[0] == "IdempotentInstanceTerminated"
    lab.account.advance(SHUTTING_DOWN)
    assert error_of(lambda: lab.ec2.run_instances(**order))[0] == "IdempotentInstanceTerminated"


def test_a_token_answers_with_its_launch_before_anything_else_is_judged(lab: Lab) -> None:
    assert lab.key_file.exists()
    order = lab.order(KeyName="lab", ClientToken="early")
    first = lab.ec2.run_instances(**order)
    lab.ec2.delete_key_pair(KeyName="lab")
    lab.account.add_rule("pool no-capacity")
    again = lab.ec2.run_instances(**order)
    assert again["Instances"][0]["InstanceId"] == first["Instances"][0]["InstanceId"]
    assert error_of(lambda: lab.ec2.run_instances(**{**order, "ClientToken": "late"}))[0] == "InvalidKeyPair.NotFound"


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "latest"}, "InvalidAMIID.Malformed"),
        ({"InstanceType": "g4dn.xxlarge"}, "InvalidParameterValue"),
        ({"InstanceType": "g5.xlarge"}, "Unsupported"),  # sold in zones b and c
        ({"Placement": {"AvailabilityZone": "eu-north-1z"}}, "InvalidParameterValue"),
        ({"KeyName": "nobody's"}, "InvalidKeyPair.NotFound"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"SubnetId": "subnet-0123456789abcdef0", "Placement": None}, "InvalidSubnetID.NotFound"),
        ({"UserData": "x" * 16385}, "InvalidParameterValue"),
        ({"MinCount": 2}, "InvalidParameterValue"),
        (
            {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.01"}}},
            "SpotMaxPriceTooLow",
        ),
        (_spot(SpotOptions={"MaxPrice": "abc"}), "InvalidParameterValue"),
        (_spot(SpotOptions={"MaxPrice": "0"}), "InvalidParameterValue"),
        (_spot(MarketType="spots"), "InvalidParameterValue"),
        ({"DryRun": True}, "DryRunOperation"),
        ({"MinCount": 0}, "InvalidParameterValue"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
        ({"InstanceInitiatedShutdownBehavior": "explode"}, "InvalidParameterValue"),
        ({"InstanceInitiatedShutdownBehavior": "stop"}, "InvalidParameterCombination"),
        ({"InstanceType": "g5g.xlarge", "Placement": None}, "InvalidParameterValue"),  # arm64
        ({"SecurityGroups": ["nope"]}, "InvalidGroup.NotFound"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"], "NetworkInterfaces": [_NIC]}, "InvalidParameterCombination"),
        ({"IamInstanceProfile": {"Name": "nobody's"}}, "InvalidParameterValue"),
        (_disk(VolumeType="gp9"), "InvalidParameterValue"),
        (_disk(VolumeSize=4), "InvalidBlockDeviceMapping"),
        ({"TagSpecifications": [_RESERVED_TAG]}, "InvalidParameterValue"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(lab: Lab, overrides: dict[str, Any], code: str) -> None:
    assert error_of(lambda: lab.ec2.run_instances(**lab.order(**overrides)))[0] == code
    assert not [row for row in lab.account.table()["instances"] if row["live"]]


@pytest.mark.parametrize(
    ("market", "code"), [("spot", "MaxSpotInstanceCountExceeded"), ("on-demand", "VcpuLimitExceeded")]
)
def test_quotas_are_separate_and_enforced(lab: Lab, market: str, code: str) -> None:
    options = {"MarketType": "spot"} if market == "spot" else None
    lab.launch(InstanceMarketOptions=options)
    second = lab.launch(InstanceMarketOptions=options)
    third = lab.order(InstanceMarketOptions=options)
    assert error_of(lambda: lab.ec2.run_instances(**third)) == (code, 400)
    lab.launch(InstanceMarketOptions=None if options else {"MarketType": "spot"})
    lab.ec2.terminate_instances(InstanceIds=[second])
    lab.launch(InstanceMarketOptions=options)


def test_as_many_as_the_quota_allows_are_launched_and_it_counts_one_region(lab: Lab) -> None:
    count = lambda order: len(lab.ec2.run_instances(**order)["Instances"])  # noqa: E731
    assert count(lab.order(MaxCount=3)) == 2
    assert error_of(lambda: lab.ec2.run_instances(**lab.order()))[0] == "MaxSpotInstanceCountExceeded"
    least_two = lab.order(InstanceMarketOptions=None, InstanceType="g4dn.2xlarge", MinCount=2, MaxCount=2)
    assert error_of(lambda: lab.ec2.run_instances(**least_two))[0] == "VcpuLimitExceeded"
    elsewhere = lab.client("ec2", region_name="eu-west-1")
    copy = elsewhere.copy_image(Name="copy", SourceImageId=lab.image, SourceRegion="eu-north-1")["ImageId"]
    lab.account.advance(PENDING)
    order = lab.order(ImageId=copy, Placement=None)
    instance_id = elsewhere.run_instances(**order)["Instances"][0]["InstanceId"]
    elsewhere.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(SHUTTING_DOWN)
    elsewhere.deregister_image(ImageId=copy)


def test_a_group_of_another_network_is_refused(lab: Lab) -> None:
    vpc_id = lab.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group_id = lab.ec2.create_security_group(GroupName="far", Description="for a test", VpcId=vpc_id)["GroupId"]
    assert error_of(lambda: lab.ec2.run_instances(**lab.order(SecurityGroupIds=[group_id])))[0] == "InvalidParameter"
    assert error_of(lambda: lab.ec2.run_instances(**lab.order(SecurityGroups=["far"])))[0] == "InvalidGroup.NotFound"
    lab.ec2.delete_security_group(GroupId=group_id)
    lab.ec2.delete_vpc(VpcId=vpc_id)


def test_a_group_can_be_given_by_its_name(lab: Lab) -> None:
    group_id = lab.ec2.create_security_group(GroupName="by name", Description="for a test")["GroupId"]
    assert lab.row(lab.launch(SecurityGroups=["by name"]))["security_groups"] == [group_id]


def test_a_launch_takes_the_rest_of_its_disk_from_the_image(lab: Lab) -> None:
    (device,) = lab.ec2.describe_images(ImageIds=[lab.image])["Images"][0]["BlockDeviceMappings"]
    assert (device["DeviceName"], device["Ebs"]["VolumeSize"]) == ("/dev/sda1", 8)
    assert (device["Ebs"]["VolumeType"], device["Ebs"]["DeleteOnTermination"]) == ("gp3", True)
    (snapshot,) = lab.ec2.describe_snapshots(SnapshotIds=[device["Ebs"]["SnapshotId"]])["Snapshots"]
    assert snapshot["VolumeSize"] == 8
    lab.launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 5}}])
    assert sorted(volume["size"] for volume in lab.account.table()["volumes"]) == [5, 8]
    assert {volume["VolumeType"] for volume in lab.ec2.describe_volumes()["Volumes"]} == {"gp2", "gp3"}


def test_a_quota_rule_changes_what_is_enforced_and_what_is_told(lab: Lab) -> None:
    lab.account.add_rule("quota spot=0")
    quotas = lab.client("service-quotas")
    spot = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-3819A6DF")["Quota"]
    on_demand = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")["Quota"]
    assert (spot["Value"], on_demand["Value"]) == (0.0, 8.0)
    assert error_of(lambda: lab.ec2.run_instances(**lab.order()))[0] == "MaxSpotInstanceCountExceeded"
    assert error_of(lambda: quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-0"))[0] == (
        "NoSuchResourceException"
    )


def test_an_empty_pool_is_a_server_error_and_another_zone_is_not(lab: Lab) -> None:
    lab.account.add_rule("pool zone=eu-north-1a type=g4dn.* market=spot no-capacity")
    assert error_of(lambda: lab.ec2.run_instances(**lab.order())) == ("InsufficientInstanceCapacity", 500)
    lab.launch(Placement={"AvailabilityZone": "eu-north-1b"})
    lab.launch(InstanceMarketOptions=None)


def test_without_a_zone_aws_finds_one_that_has_capacity(lab: Lab) -> None:
    lab.account.add_rule("pool zone=eu-north-1a no-capacity")
    assert lab.row(lab.launch(Placement=None))["zone"] == "eu-north-1b"


def test_a_subnet_decides_the_zone(lab: Lab) -> None:
    subnets = lab.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["eu-north-1c"]}])
    subnet_id = subnets["Subnets"][0]["SubnetId"]
    row = lab.row(lab.launch(SubnetId=subnet_id, Placement=None))
    assert row["zone"] == "eu-north-1c"
    assert row["public_ip"].startswith("127.")


def test_a_network_interface_decides_zone_and_groups(lab: Lab) -> None:
    group_id = lab.ec2.create_security_group(GroupName="nic", Description="for a test")["GroupId"]
    subnet_id = lab.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    interface = {
        "DeviceIndex": 0,
        "SubnetId": subnet_id,
        "Groups": [group_id],
        "AssociatePublicIpAddress": True,
    }
    row = lab.row(lab.launch(NetworkInterfaces=[interface], Placement=None))
    assert row["security_groups"] == [group_id]
    assert row["public_ip"].startswith("127.")


def test_what_is_asked_for_in_the_launch_is_there(lab: Lab) -> None:
    tags = [{"Key": "owner", "Value": "test"}]
    kinds = ("instance", "volume", "spot-instances-request", "network-interface")
    disk = {"VolumeSize": 30, "VolumeType": "gp3", "Iops": 3000, "Throughput": 125, "Encrypted": True}
    instance_id = lab.launch(
        TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in kinds],
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": disk}],
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
    )
    lab.account.advance(PENDING)
    instance = lab.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert instance["Tags"] == tags
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["InstanceLifecycle"] == "spot"
    attribute = lab.ec2.describe_instance_attribute(
        InstanceId=instance_id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert attribute["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    table = lab.account.table()
    (volume,) = table["volumes"]
    assert (volume["size"], volume["encrypted"], volume["tags"]) == (30, True, {"owner": "test"})
    (request,) = [row for row in table["spot_requests"] if row["instance_id"] == instance_id]
    assert request["tags"] == {"owner": "test"}


def test_an_instance_without_groups_is_in_the_default_group(lab: Lab) -> None:
    (group_id,) = lab.row(lab.launch())["security_groups"]
    groups = lab.account.table()["security_groups"]
    assert next(group for group in groups if group["group_id"] == group_id)["default"]
