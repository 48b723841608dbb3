"""What IAM would be asked for a call: actions, resources, and what conditions see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gputx.sandbox.plane import emulator, need_ec2, need_others
from gputx.sandbox.plane.calls import Call

EC2 = "arn:aws:ec2:eu-north-1:123456789012:"


@pytest.fixture(autouse=True)
def backend() -> Iterator[Any]:
    found = emulator.ec2("eu-north-1")
    found.reset()
    yield found
    found.reset()


def call(service: str, action: str, *, path: str = "/", body: bytes = b"", **params: Any) -> Call:
    # Parameters on the wire have dots in their names.
    named = {name.replace("__", "."): value for name, value in params.items()}
    return Call(service, action, "eu-north-1", "KEY", named, body, path=path)


def asked(made: Call) -> set[tuple[str, str]]:
    of = need_ec2 if made.service == "ec2" else need_others
    return {(need.action, need.resource) for need in of.needs(made)}


def test_a_description_is_of_no_resource() -> None:
    assert asked(call("ec2", "DescribeInstances", InstanceId__1="i-1")) == {("ec2:DescribeInstances", "*")}


def test_what_is_not_there_is_not_asked_about() -> None:
    assert asked(call("ec2", "TerminateInstances", InstanceId__1="i-1")) == set()
    assert asked(call("ec2", "DeleteVolume", VolumeId="vol-1")) == set()


def test_the_tags_of_a_thing_are_seen(backend: Any) -> None:
    volume = backend.create_volume(size=1, zone_name="eu-north-1a")
    backend.create_tags([volume.id], {"gputx:run": "r1"})
    (need,) = need_ec2.needs(call("ec2", "DeleteVolume", VolumeId=volume.id))
    assert (need.resource, need.context) == (f"{EC2}volume/{volume.id}", {"aws:resourcetag/gputx:run": "r1"})


def test_a_thing_without_tags_is_asked_about_without_them(backend: Any) -> None:
    volume = backend.create_volume(size=1, zone_name="eu-north-1a")
    (need,) = need_ec2.needs(call("ec2", "DeleteVolume", VolumeId=volume.id))
    assert need.context == {}


def test_a_launch_is_asked_about_part_by_part(backend: Any) -> None:
    group = backend.create_security_group("g", "x")
    tags = {"TagSpecification__1__Tag__1__Key": "gputx:run", "TagSpecification__1__Tag__1__Value": "r1"}
    made = call(
        "ec2",
        "RunInstances",
        KeyName="gputx-r1",
        NetworkInterface__1__SubnetId="subnet-1",
        NetworkInterface__1__SecurityGroupId__1=group.id,
        InstanceType="g4dn.xlarge",
        InstanceMarketOptions__MarketType="spot",
        MetadataOptions__HttpTokens="required",
        BlockDeviceMapping__1__Ebs__Encrypted="true",
        TagSpecification__1__ResourceType="instance",
        **tags,
    )
    needs = need_ec2.needs(made)
    launch = "ec2:RunInstances"
    assert {(need.action, need.resource) for need in needs} == {
        (launch, f"{EC2}key-pair/gputx-r1"),
        (launch, f"{EC2}subnet/subnet-1"),
        (launch, f"{EC2}security-group/{group.id}"),
        (launch, f"{EC2}instance/*"),
        (launch, f"{EC2}volume/*"),
        (launch, f"{EC2}network-interface/*"),
        (launch, f"{EC2}spot-instances-request/*"),
        ("ec2:CreateTags", f"{EC2}instance/*"),
    }
    instance = next(n for n in needs if n.resource.endswith("instance/*") and n.action == launch)
    assert instance.context["aws:requesttag/gputx:run"] == "r1"
    assert instance.context["aws:tagkeys"] == ["gputx:run"]
    assert instance.context["ec2:metadatahttptokens"] == "required"
    disk = next(n for n in needs if n.resource.endswith("volume/*"))
    assert disk.context == {"ec2:encrypted": "true"}
    tagging = next(n for n in needs if n.action == "ec2:CreateTags")
    assert tagging.context["ec2:createaction"] == "RunInstances"


def test_what_is_launched_with_a_profile_is_handed_its_role() -> None:
    roles = emulator.iam()
    role = roles.create_role("r-for-test", "{}", "/", None, "", [], "3600")
    roles.create_instance_profile("p-for-test", "/", [])
    roles.add_role_to_instance_profile("p-for-test", "r-for-test")
    try:
        needs = need_ec2.needs(call("ec2", "RunInstances", IamInstanceProfile__Name="p-for-test"))
        (passed,) = [need for need in needs if need.action == "iam:PassRole"]
        assert (passed.resource, passed.context) == (role.arn, {"iam:passedtoservice": "ec2.amazonaws.com"})
    finally:
        roles.remove_role_from_instance_profile("p-for-test", "r-for-test")
        roles.delete_instance_profile("p-for-test")
        roles.delete_role("r-for-test")


@pytest.mark.parametrize(
    ("made", "needed"),
    [
        (call("s3", "HeadBucket", path="/b"), {("s3:ListBucket", "arn:aws:s3:::b")}),
        (call("s3", "PutObject", path="/b/results/%C3%A4"), {("s3:PutObject", "arn:aws:s3:::b/results/ä")}),
        (call("s3", "DeleteObjects", path="/b"), {("s3:DeleteObject", "arn:aws:s3:::b/*")}),
        (
            call("s3", "DeleteObjects", path="/b", body=b"<VersionId>1</VersionId>"),
            {("s3:DeleteObjectVersion", "arn:aws:s3:::b/*")},
        ),
        (call("s3", "PutBucketEncryption", path="/b"), {("s3:PutEncryptionConfiguration", "arn:aws:s3:::b")}),
        (call("sts", "GetCallerIdentity"), set()),
        (
            call("iam", "CreateServiceLinkedRole", AWSServiceName="spot.amazonaws.com"),
            {
                (
                    "iam:CreateServiceLinkedRole",
                    "arn:aws:iam::123456789012:role/aws-service-role/spot.amazonaws.com/*",
                )
            },
        ),
        (
            call("iam", "AddRoleToInstanceProfile", InstanceProfileName="p", RoleName="r"),
            {
                ("iam:AddRoleToInstanceProfile", "arn:aws:iam::123456789012:instance-profile/p"),
                ("iam:PassRole", "arn:aws:iam::123456789012:role/r"),
            },
        ),
        (
            call("scheduler", "CreateSchedule", Name="n", GroupName="gputx", Target={"RoleArn": "arn:role"}),
            {
                ("scheduler:CreateSchedule", "arn:aws:scheduler:eu-north-1:123456789012:schedule/gputx/n"),
                ("iam:PassRole", "arn:role"),
            },
        ),
        (
            call("ssm", "GetParameter", Name="/aws/service/canonical/x"),
            {("ssm:GetParameter", "arn:aws:ssm:eu-north-1::parameter/aws/service/canonical/x")},
        ),
        (
            call("budgets", "DescribeBudget", BudgetName="gputx"),
            {("budgets:ViewBudget", "arn:aws:budgets::123456789012:budget/gputx")},
        ),
        (call("newservice", "DoIt"), {("newservice:DoIt", "*")}),
    ],
)
def test_other_services(made: Call, needed: set[tuple[str, str]]) -> None:
    assert asked(made) == needed
