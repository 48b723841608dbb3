"""Launch templates: what they hold, how they are found, and what a launch takes from one."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from .lab import PENDING, Lab, error_of


def _create(lab: Lab, name: str = "lab-template", tags: dict[str, str] | None = None, **data: Any) -> str:
    given = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
    specifications = [{"ResourceType": "launch-template", "Tags": given}] if given else []
    template = lab.ec2.create_launch_template(
        LaunchTemplateName=name,
        LaunchTemplateData={"ImageId": lab.image, "InstanceType": "g4dn.xlarge", **data},
        TagSpecifications=specifications,
    )
    return str(template["LaunchTemplate"]["LaunchTemplateId"])


def _names(lab: Lab, **by: Any) -> list[str]:
    return [template["LaunchTemplateName"] for template in lab.ec2.describe_launch_templates(**by)["LaunchTemplates"]]


def test_a_template_is_found_by_its_tags_and_its_name(lab: Lab) -> None:
    _create(lab, "tagged-one", {"gputx:run": "r1"})
    _create(lab, "plain-one")
    for name, value, want in [
        ("tag-key", "gputx:*", ["tagged-one"]),
        ("tag:gputx:run", "r1", ["tagged-one"]),
        ("tag:gputx:run", "r2", []),
        ("launch-template-name", "*-one", ["tagged-one", "plain-one"]),
    ]:
        assert _names(lab, Filters=[{"Name": name, "Values": [value]}]) == want, name
    assert _names(lab, LaunchTemplateNames=["plain-one"]) == ["plain-one"]
    answer = lab.ec2.describe_launch_templates(LaunchTemplateNames=["tagged-one"])["LaunchTemplates"]
    assert answer[0]["Tags"] == [{"Key": "gputx:run", "Value": "r1"}]
    no_such = [{"Name": "colour", "Values": ["red"]}]
    assert error_of(lambda: _names(lab, Filters=no_such))[0] == "InvalidParameterValue"


def test_a_token_creates_one_template(lab: Lab) -> None:
    data = {"ImageId": lab.image}
    order: dict[str, Any] = {"LaunchTemplateName": "once", "LaunchTemplateData": data, "ClientToken": "template-once"}
    first = lab.ec2.create_launch_template(**order)["LaunchTemplate"]["LaunchTemplateId"]
    assert lab.ec2.create_launch_template(**order)["LaunchTemplate"]["LaunchTemplateId"] == first
    other = {**order, "LaunchTemplateData": {"InstanceType": "g5.xlarge"}}
    assert error_of(lambda: lab.ec2.create_launch_template(**other))[0] == "IdempotentParameterMismatch"
    again = {**order, "ClientToken": "template-twice"}
    code = error_of(lambda: lab.ec2.create_launch_template(**again))[0]
    assert code == "InvalidLaunchTemplateName.AlreadyExistsException"


def test_versions_inherit_and_are_launched_by_number_latest_and_default(lab: Lab) -> None:
    template = _create(lab, InstanceType="g4dn.2xlarge", KeyName="nobody's")
    lab.ec2.create_launch_template_version(
        LaunchTemplateId=template, SourceVersion="1", LaunchTemplateData={"InstanceType": "g4dn.xlarge", "KeyName": ""}
    )
    numbers = [
        version["VersionNumber"]
        for version in lab.ec2.describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"]
    ]
    assert numbers == [1, 2]

    def launch(version: dict[str, str]) -> str:
        by = {"LaunchTemplateId": template, **version}
        answer = lab.ec2.run_instances(LaunchTemplate=by, MinCount=1, MaxCount=1)
        return str(lab.row(answer["Instances"][0]["InstanceId"])["instance_type"])

    assert launch({"Version": "$Latest"}) == "g4dn.xlarge"
    assert launch({"Version": "2"}) == "g4dn.xlarge"
    assert error_of(lambda: launch({}))[0] == "InvalidKeyPair.NotFound"  # version 1, the default
    assert error_of(lambda: launch({"Version": "3"}))[0] == "InvalidLaunchTemplateId.VersionNotFound"


def test_a_launch_takes_what_it_does_not_say_from_the_template(lab: Lab) -> None:
    group = lab.ec2.create_security_group(GroupName="of-template", Description="for a test")["GroupId"]
    assert lab.key_file.exists()
    template = _create(
        lab,
        KeyName="lab",
        SecurityGroupIds=[group],
        InstanceInitiatedShutdownBehavior="terminate",
        MetadataOptions={"HttpTokens": "required"},
        InstanceMarketOptions={"MarketType": "spot"},
        UserData=base64.b64encode(b"#!/bin/sh\n").decode(),
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}}],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}]},
            {"ResourceType": "volume", "Tags": [{"Key": "v", "Value": "1"}]},
        ],
    )
    answer = lab.ec2.run_instances(
        LaunchTemplate={"LaunchTemplateName": "lab-template"},
        MinCount=1,
        MaxCount=1,
        InstanceType="g4dn.2xlarge",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "b", "Value": "2"}]}],
    )
    lab.account.advance(PENDING)
    row = lab.row(answer["Instances"][0]["InstanceId"])
    assert (row["instance_type"], row["market"], row["key_name"]) == ("g4dn.2xlarge", "spot", "lab")
    assert row["security_groups"] == [group]
    assert (row["tags"]["a"], row["tags"]["b"]) == ("1", "2")
    assert row["tags"]["aws:ec2launchtemplate:id"] == template
    (volume,) = lab.account.table()["volumes"]
    assert (volume["size"], volume["tags"]) == (20, {"v": "1"})
    (reservation,) = lab.ec2.describe_instances(InstanceIds=[row["instance_id"]])["Reservations"]
    assert reservation["Instances"][0]["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ({"LaunchTemplateName": "nobody's"}, "InvalidLaunchTemplateName.NotFoundException"),
        ({"LaunchTemplateId": "lt-0123456789abcdef0"}, "InvalidLaunchTemplateId.NotFound"),
        ({"Version": "1"}, "MissingParameter"),
        ({"LaunchTemplateName": "a", "LaunchTemplateId": "b"}, "InvalidParameterCombination"),
    ],
)
def test_a_template_that_is_not_there_launches_nothing(lab: Lab, named: dict[str, str], code: str) -> None:
    assert error_of(lambda: lab.ec2.run_instances(LaunchTemplate=named, MinCount=1, MaxCount=1))[0] == code
    assert not [row for row in lab.account.table()["instances"] if row["live"]]


def test_a_launch_is_remembered_by_its_token_when_its_template_is_gone(lab: Lab) -> None:
    template = _create(lab)
    order: dict[str, Any] = {"LaunchTemplate": {"LaunchTemplateId": template}, "MinCount": 1, "MaxCount": 1}
    first = lab.ec2.run_instances(**order, ClientToken="by-template")["Instances"][0]["InstanceId"]
    lab.ec2.delete_launch_template(LaunchTemplateId=template)
    assert _names(lab) == []
    assert lab.ec2.run_instances(**order, ClientToken="by-template")["Instances"][0]["InstanceId"] == first
    assert error_of(lambda: lab.ec2.run_instances(**order))[0] == "InvalidLaunchTemplateId.NotFound"
