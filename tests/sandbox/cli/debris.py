"""What a run may leave in an account, put there with plain boto3."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from product import Cli

from gputx.aws.tags import stamp_of

SERVICES = ("instance", "volume", "network-interface", "spot-instances-request")


@dataclass
class Debris:
    """Puts into the account, with plain boto3, what a run leaves there."""

    cli: Cli

    def __post_init__(self) -> None:
        self.ec2 = self.cli.boto("ec2")
        self.me = str(self.cli.boto("sts").get_caller_identity()["Arn"])
        self.foreign: list[tuple[str, str]] = []

    def labels(self, run: str, *, owner: str | None = None, due: float = -3600, **more: str) -> dict[str, str]:
        now = self.cli.account.clock.time()
        return {
            "gputx:run": run,
            "gputx:owner": owner or self.me,
            "gputx:started": stamp_of(now - 7200),
            "gputx:deadline": stamp_of(now + due),
            "gputx:journal": "of another machine",
            **more,
        }

    def tagged(self, labels: dict[str, str], *kinds: str) -> list[dict[str, Any]]:
        pairs = [{"Key": key, "Value": value} for key, value in labels.items()]
        return [{"ResourceType": kind, "Tags": pairs} for kind in kinds]

    def group(self, labels: dict[str, str], name: str) -> str:
        made = self.ec2.create_security_group(
            GroupName=name, Description="x", TagSpecifications=self.tagged(labels, "security-group")
        )
        return str(made["GroupId"])

    def instance(self, labels: dict[str, str], *groups: str) -> str:
        image = self.ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
        launched = self.ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            InstanceType="g4dn.xlarge",
            SecurityGroupIds=list(groups),
            InstanceMarketOptions={"MarketType": "spot"},
            TagSpecifications=self.tagged(labels, *SERVICES),
        )
        self.cli.account.advance(2)
        return str(launched["Instances"][0]["InstanceId"])

    def key(self, labels: dict[str, str], name: str) -> str:
        self.ec2.create_key_pair(KeyName=name, TagSpecifications=self.tagged(labels, "key-pair"))
        return name

    def everything(self, labels: dict[str, str], name: str) -> dict[str, str]:
        """One of each kind that needs no bake; what is attached to the instance goes with it."""
        spare = self.ec2.create_volume(
            AvailabilityZone="eu-north-1a", Size=1, TagSpecifications=self.tagged(labels, "volume")
        )["VolumeId"]
        snapshot = self.ec2.create_snapshot(VolumeId=spare, TagSpecifications=self.tagged(labels, "snapshot"))
        subnet = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        group = self.group(labels, name)
        interface = self.ec2.create_network_interface(
            SubnetId=subnet, Groups=[group], TagSpecifications=self.tagged(labels, "network-interface")
        )
        template = self.ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={"InstanceType": "g4dn.xlarge"},
            TagSpecifications=self.tagged(labels, "launch-template"),
        )
        fires = datetime.fromtimestamp(self.cli.account.clock.time() + 9000, UTC)
        self.cli.boto("scheduler").create_schedule(
            Name=name,
            GroupName="gputx",
            Description=json.dumps(labels),
            ScheduleExpression=f"at({fires:%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances",
                "RoleArn": "arn:aws:iam::123456789012:role/gputx-scheduler",
                "Input": '{"InstanceIds": ["i-0123456789abcdef0"]}',
            },
        )
        return {
            "instance": self.instance(labels, group),
            "key pair": self.key(labels, name),
            "security group": group,
            "volume": spare,
            "snapshot": snapshot["SnapshotId"],
            "network interface": interface["NetworkInterface"]["NetworkInterfaceId"],
            "launch template": template["LaunchTemplate"]["LaunchTemplateId"],
            "schedule": name,
            "queue": self.cli.boto("sqs").create_queue(QueueName=name, tags=labels)["QueueUrl"],
        }
