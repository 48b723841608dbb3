"""Images made of instances: when they can be launched, what is on their disk, and how they go away again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from .lab import PENDING, SHUTTING_DOWN, Lab, error_of, wait_for

needs_openssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs an OpenSSH client")

_IMAGING = 600.0
_PARAMETER = "/aws/service/canonical/ubuntu/server/{}/stable/current/amd64/hvm/{}/ami-id"


@pytest.fixture
def lab(lab: Lab) -> Iterator[Lab]:
    """The lab, where images take their time and are gone afterwards."""
    lab.account.add_rule(f"imaging {_IMAGING:g}s")
    furnished = {row["image_id"] for row in lab.account.table()["images"]}
    yield lab
    for row in lab.account.table()["images"]:
        if row["image_id"] not in furnished:
            lab.ec2.deregister_image(ImageId=row["image_id"], DeleteAssociatedSnapshots=True)


def _make(lab: Lab, instance_id: str, name: str, **more: Any) -> str:
    return str(lab.ec2.create_image(InstanceId=instance_id, Name=name, **more)["ImageId"])


def _image(lab: Lab, image_id: str) -> dict[str, Any]:
    (image,) = lab.ec2.describe_images(ImageIds=[image_id])["Images"]
    shown: dict[str, Any] = image
    return shown


def _snapshot_of(image: dict[str, Any]) -> str:
    return str(image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"])


@needs_openssh
def test_an_image_holds_the_disk_and_the_instance_was_rebooted_for_it(lab: Lab) -> None:
    instance_id = lab.boot()
    assert lab.ssh(instance_id, "echo baked > note; touch /run/until-reboot").returncode == 0
    image_id = _make(lab, instance_id, "of-a-running-one")
    assert lab.state(instance_id) == "running"
    wait_for(lambda: lab.ssh(instance_id, "cat note; ls /run/until-reboot").stdout == "baked\n")
    assert lab.ssh(instance_id, "echo later > note").returncode == 0
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(max(_IMAGING, SHUTTING_DOWN))
    assert _image(lab, image_id)["State"] == "available"
    child = lab.boot(ImageId=image_id)
    assert lab.ssh(child, "cat note").stdout == "baked\n"


@needs_openssh
def test_two_images_at_once_leave_one_machine_that_ends(lab: Lab) -> None:
    instance_id = lab.boot()
    assert lab.ssh(instance_id, "echo twice > note").returncode == 0
    images = [_make(lab, instance_id, f"at-once-{number}") for number in (1, 2)]
    lab.ec2.reboot_instances(InstanceIds=[instance_id])
    lab.account.advance(_IMAGING)
    assert {_image(lab, image_id)["State"] for image_id in images} == {"available"}
    wait_for(lambda: lab.ssh(instance_id, "cat note").stdout == "twice\n")
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(SHUTTING_DOWN)
    assert lab.state(instance_id) == "terminated"


@needs_openssh
def test_no_reboot_takes_the_disk_as_it_is(lab: Lab) -> None:
    instance_id = lab.boot()
    assert lab.ssh(instance_id, "echo live > note; touch /run/until-reboot").returncode == 0
    image_id = _make(lab, instance_id, "as-it-is", NoReboot=True)
    lab.account.advance(_IMAGING)
    assert lab.ssh(instance_id, "ls /run/until-reboot").returncode == 0
    assert _image(lab, image_id)["State"] == "available"
    assert lab.ssh(lab.boot(ImageId=image_id), "cat note").stdout == "live\n"


@needs_openssh
def test_a_stopped_instance_stays_stopped(lab: Lab) -> None:
    instance_id = lab.boot(InstanceMarketOptions=None, InstanceInitiatedShutdownBehavior="stop")
    assert lab.ssh(instance_id, "echo resting > note").returncode == 0
    lab.ec2.stop_instances(InstanceIds=[instance_id])
    assert error_of(lambda: _make(lab, instance_id, "too-early"))[0] == "IncorrectInstanceState"
    lab.account.advance(SHUTTING_DOWN)
    image_id = _make(lab, instance_id, "of-a-stopped-one")
    lab.account.advance(_IMAGING)
    assert lab.state(instance_id) == "stopped"
    assert lab.ssh(lab.boot(ImageId=image_id), "cat note").stdout == "resting\n"


def test_an_image_is_pending_until_the_clock_says_so(lab: Lab) -> None:
    instance_id = lab.launch_running(
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3"}}]
    )
    (volume,) = lab.account.table()["volumes"]
    tags = [{"Key": "gputx:build", "Value": "b1"}]
    specifications = [{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")]
    image_id = _make(lab, instance_id, "timed", Description="for a test", TagSpecifications=specifications)
    image = _image(lab, image_id)
    assert (image["State"], image["Tags"], image["SourceInstanceId"]) == ("pending", tags, instance_id)
    assert (image["Description"], image["RootDeviceType"], image["Architecture"]) == ("for a test", "ebs", "x86_64")
    assert image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 30
    by_tag = {"OwnerIds": ["self"], "Filters": [{"Name": "tag-key", "Values": ["gputx:*"]}]}
    (snapshot,) = lab.ec2.describe_snapshots(**by_tag)["Snapshots"]
    assert (snapshot["SnapshotId"], snapshot["VolumeSize"], snapshot["Tags"]) == (_snapshot_of(image), 30, tags)
    assert (snapshot["State"], snapshot["VolumeId"]) == ("pending", volume["volume_id"])
    assert error_of(lambda: lab.launch(ImageId=image_id))[0] == "InvalidAMIID.Unavailable"
    lab.account.advance(_IMAGING - 60)
    assert _image(lab, image_id)["State"] == "pending"
    lab.account.advance(60)
    assert _image(lab, image_id)["State"] == "available"
    (snapshot,) = lab.ec2.describe_snapshots(**by_tag)["Snapshots"]
    assert (snapshot["State"], snapshot["Progress"]) == ("completed", "100%")
    lab.launch(ImageId=image_id)
    assert sorted(row["size"] for row in lab.account.table()["volumes"]) == [30, 30]


def test_a_name_is_taken_while_its_image_is_there(lab: Lab) -> None:
    instance_id = lab.launch_running()
    image_id = _make(lab, instance_id, "one-name")
    assert error_of(lambda: _make(lab, instance_id, "one-name"))[0] == "InvalidAMIName.Duplicate"
    lab.ec2.deregister_image(ImageId=image_id)
    assert _make(lab, instance_id, "one-name") != image_id


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"Name": "a?b?c"}, "InvalidAMIName.Malformed"),
        ({"InstanceId": "i-0123456789abcdef0"}, "InvalidInstanceID.NotFound"),
        ({"DryRun": True}, "DryRunOperation"),
        ({"TagSpecifications": [{"ResourceType": "instance", "Tags": []}]}, "InvalidParameterValue"),
    ],
)
def test_an_image_that_cannot_be_is_refused(lab: Lab, more: dict[str, Any], code: str) -> None:
    order = {"InstanceId": lab.launch_running(), "Name": "refused", **more}
    before = lab.account.table()["images"]
    assert error_of(lambda: lab.ec2.create_image(**order))[0] == code
    assert lab.account.table()["images"] == before


def test_a_pending_image_can_be_given_up(lab: Lab) -> None:
    instance_id = lab.launch_running()
    image_id = _make(lab, instance_id, "given-up")
    snapshot_id = _snapshot_of(_image(lab, image_id))
    assert error_of(lambda: lab.ec2.delete_snapshot(SnapshotId=snapshot_id))[0] == "InvalidSnapshot.InUse"
    lab.ec2.deregister_image(ImageId=image_id)
    assert not [row for row in lab.account.table()["images"] if row["image_id"] == image_id]
    assert lab.ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    lab.ec2.delete_snapshot(SnapshotId=snapshot_id)
    gone = error_of(lambda: lab.ec2.describe_snapshots(SnapshotIds=[snapshot_id]))
    assert gone[0] == "InvalidSnapshot.NotFound"
    lab.account.advance(_IMAGING)
    assert error_of(lambda: lab.launch(ImageId=image_id))[0] == "InvalidAMIID.NotFound"
    wait_for(lambda: not (lab.account.state_dir / "images" / image_id).exists())
    assert lab.state(instance_id) == "running"


def test_snapshots_go_with_the_image_if_asked(lab: Lab) -> None:
    image_id = _make(lab, lab.launch_running(), "with-all")
    lab.account.advance(_IMAGING)
    snapshot_id = _snapshot_of(_image(lab, image_id))
    answer = lab.ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)
    assert answer["DeleteSnapshotResults"] == [{"SnapshotId": snapshot_id, "ReturnCode": "success"}]
    mine = lab.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert snapshot_id not in {snapshot["SnapshotId"] for snapshot in mine}
    wait_for(lambda: not (lab.account.state_dir / "images" / image_id).exists())


def test_an_instance_that_was_launched_boots_though_its_image_is_gone(lab: Lab) -> None:
    image_id = _make(lab, lab.launch_running(), "short-lived")
    lab.account.advance(_IMAGING)
    child = lab.launch(ImageId=image_id)
    lab.ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)
    lab.account.advance(PENDING + 30)
    assert "BEGIN SSH HOST KEY KEYS" in lab.ec2.get_console_output(InstanceId=child)["Output"]


def test_a_pending_image_is_not_copied_and_a_copy_keeps_its_size(lab: Lab) -> None:
    disk = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30}}]
    image_id = _make(lab, lab.launch_running(BlockDeviceMappings=disk), "to-copy")
    copy = {"SourceImageId": image_id, "SourceRegion": "eu-north-1", "Name": "a-copy"}
    assert error_of(lambda: lab.ec2.copy_image(**copy))[0] == "InvalidAMIID.Unavailable"
    lab.account.advance(_IMAGING)
    copied = lab.ec2.copy_image(**copy)["ImageId"]
    assert _image(lab, copied)["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 30
    lab.ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)
    lab.account.advance(_IMAGING)
    child = lab.launch_running(ImageId=copied)
    lab.account.advance(30)
    assert "BEGIN SSH HOST KEY KEYS" in lab.ec2.get_console_output(InstanceId=child)["Output"]


def test_canonical_publishes_an_image_that_boots_and_is_nobody_s_own(lab: Lab) -> None:
    parameters = lab.client("ssm")
    names = [_PARAMETER.format(version, disk) for version in ("22.04", "24.04") for disk in ("ebs-gp2", "ebs-gp3")]
    found = {parameters.get_parameter(Name=name)["Parameter"]["Value"] for name in names}
    (image_id,) = found
    assert len(parameters.get_parameters(Names=names)["Parameters"]) == len(names)
    image = _image(lab, image_id)
    assert (image["OwnerId"], image["Architecture"]) == ("099720109477", "x86_64")
    # Where its guests can't have port 22, whoever boots it has to know. Else it is as anybody's.
    assert [tag["Key"] for tag in image.get("Tags", [])] == ["gputx:ssh-port"]
    own = {shown["ImageId"] for shown in lab.ec2.describe_images(Owners=["self"])["Images"]}
    assert own == {lab.image}
    instance_id = lab.launch_running(ImageId=image_id, UserData="#!/bin/sh\nls /opt; /opt/python/bin/python3 -V\n")
    lab.account.advance(60)

    def console() -> str:
        return str(lab.ec2.get_console_output(InstanceId=instance_id)["Output"])

    wait_for(lambda: "Python 3." in console())
    assert "transcribe" not in console()
