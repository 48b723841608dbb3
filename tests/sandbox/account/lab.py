"""One emulated account, and plain boto3 and OpenSSH to look at it with."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gputx.sandbox import Account

# Far longer than a test takes: nothing changes state before a test turns the clock.
PENDING = 300.0
SHUTTING_DOWN = 300.0
LAG = 60.0
SSH_SECONDS = 20.0


def error_of(call: Callable[[], Any]) -> tuple[str, int]:
    """(error code, HTTP status) that a boto3 call is refused with."""
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def wait_for(what: Callable[[], Any], seconds: float = SSH_SECONDS) -> Any:
    """The first true answer; real time, because it is for real processes."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.03)
    return answer


@dataclass
class Lab:
    """One account and what a test does with it most."""

    account: Account
    directory: Path
    image: str = ""

    def client(self, service: str, **overrides: Any) -> Any:
        settings = {
            "aws_access_key_id": self.account.access_key,
            "aws_secret_access_key": self.account.secret_key,
            "region_name": self.account.region,
            "endpoint_url": self.account.endpoint_url,
            # One attempt: what the sandbox answers is what the test sees.
            "config": Config(retries={"total_max_attempts": 1}, read_timeout=20),
        }
        return boto3.session.Session().client(service, **{**settings, **overrides})

    @property
    def ec2(self) -> Any:
        if not hasattr(self, "_ec2"):
            self._ec2 = self.client("ec2")
        return self._ec2

    def order(self, **overrides: Any) -> dict[str, Any]:
        order = {
            "ImageId": self.image,
            "InstanceType": "g4dn.xlarge",
            "MinCount": 1,
            "MaxCount": 1,
            "Placement": {"AvailabilityZone": "eu-north-1a"},
            "InstanceMarketOptions": {"MarketType": "spot"},
            "InstanceInitiatedShutdownBehavior": "terminate",
            **overrides,
        }
        return {name: value for name, value in order.items() if value is not None}

    def launch(self, **overrides: Any) -> str:
        """Launch one instance, spot unless ``InstanceMarketOptions=None``; returns its id. It is pending."""
        return str(self.ec2.run_instances(**self.order(**overrides))["Instances"][0]["InstanceId"])

    def launch_running(self, **overrides: Any) -> str:
        instance_id = self.launch(**overrides)
        self.account.advance(PENDING)
        return instance_id

    def row(self, instance_id: str) -> dict[str, Any]:
        return next(row for row in self.account.table()["instances"] if row["instance_id"] == instance_id)

    def state(self, instance_id: str) -> str:
        return str(self.row(instance_id)["state"])

    @property
    def key_file(self) -> Path:
        """The private half of key pair ``lab``."""
        path = self.directory / "lab-key"
        if not any(pair["name"] == "lab" for pair in self.account.table()["key_pairs"]):
            path.unlink(missing_ok=True)
            path.write_text(self.ec2.create_key_pair(KeyName="lab", KeyType="ed25519")["KeyMaterial"])
            path.chmod(0o600)
        return path

    def openssh(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ssh, scp or sftp with the lab's key; the host key is whatever it is."""
        options = [
            "-i",
            str(self.key_file),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]
        options += ["-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", "-o", f"Port={self.ssh_port}"]
        return subprocess.run([program, *options, *words], capture_output=True, text=True, timeout=60, check=False)

    @property
    def ssh_port(self) -> str:
        tags = self.ec2.describe_images(ImageIds=[self.image])["Images"][0]["Tags"]
        return next(tag["Value"] for tag in tags if tag["Key"] == "gputx:ssh-port")

    def ssh(self, instance_id: str, command: str) -> subprocess.CompletedProcess[str]:
        return self.openssh("ssh", f"ubuntu@{self.row(instance_id)['public_ip']}", command)

    def boot(self, **overrides: Any) -> str:
        """Launch an instance with the lab's key and wait until its sshd answers."""
        assert self.key_file.exists()
        instance_id = self.launch_running(KeyName="lab", **overrides)
        deadline = time.monotonic() + SSH_SECONDS
        while (attempt := self.ssh(instance_id, "true")).returncode != 0:
            console = self.ec2.get_console_output(InstanceId=instance_id).get("Output", "")
            assert time.monotonic() < deadline, f"{attempt.stderr}\n{self.row(instance_id)}\n{console}"
            time.sleep(0.03)
        return instance_id

    def empty(self) -> None:
        """End every instance and delete what tests make, so that each test finds the account as furnished."""
        self.account.clear_rules()
        fleets = [row["fleet_id"] for row in self.account.table()["fleets"] if row["state"] == "active"]
        if fleets:
            self.ec2.delete_fleets(FleetIds=fleets, TerminateInstances=True)
        for template in self.ec2.describe_launch_templates()["LaunchTemplates"]:
            self.ec2.delete_launch_template(LaunchTemplateId=template["LaunchTemplateId"])
        for row in self.account.table()["instances"]:
            if row["live"]:
                self.ec2.terminate_instances(InstanceIds=[row["instance_id"]])
        self.account.advance(SHUTTING_DOWN)
        table = self.account.table()
        for pair in table["key_pairs"]:
            self.ec2.delete_key_pair(KeyName=pair["name"])
        for group in table["security_groups"]:
            if not group["default"]:
                self.ec2.delete_security_group(GroupId=group["group_id"])
        assert not [row for row in table["instances"] if row["live"]]
        assert not table["volumes"]
