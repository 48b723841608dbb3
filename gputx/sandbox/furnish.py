"""What an account holds where gputx was set up: a private bucket, one image that keeps image contract 1, and the
role and the group of the schedules that end instances.

The one place in the sandbox that knows gputx's names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from gputx.sandbox.base import publish_base
from gputx.sandbox.guests import make_image
from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.account import EmulatedAccount
from gputx.sandbox.plane.scheduler import PRINCIPAL

MODEL = Path(__file__).parent / "tiny_sv"
MODEL_ID = "gputx/tiny-sv"
IMAGE_NAME = "gputx-sandbox-1"
SSH_USER = "ubuntu"
SCHEDULER_ROLE = "gputx-scheduler"
SCHEDULE_GROUP = "gputx"


def furnish(account: EmulatedAccount, images: Path) -> None:
    """Put in bucket ``transcription-<account id>``, image ``gputx-sandbox-1``, and role and group for schedules."""
    store = emulator.s3()
    bucket = f"transcription-{emulator.ACCOUNT_ID}"
    store.create_bucket(bucket, account.region)
    blocked = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    store.put_public_access_block(bucket, dict.fromkeys(blocked, "true"))

    image = emulator.ec2(account.region).register_image(IMAGE_NAME, "The sandbox's image with the tiny Swedish model")
    image.architecture = "x86_64"
    image.virtualization_type = "hvm"
    image.root_device_type = "ebs"
    disk = images / image.id
    revision = make_image(disk, model=MODEL, model_id=MODEL_ID, python=Path(sys.executable))
    account.machines.disks[image.id] = disk
    image.add_tags(
        {
            "gputx:contract": "1",
            "gputx:model": MODEL_ID,
            "gputx:model-revision": revision,
            "gputx:ssh-user": SSH_USER,
            "gputx:ssh-port": str(account.ssh_port),
        }
    )
    publish_base(account, images)
    _furnish_schedules(account)


def _furnish_schedules(account: EmulatedAccount) -> None:
    """A role that may end the instances of runs, and no others, and the group that schedules are made in."""
    trust = {"Effect": "Allow", "Principal": {"Service": PRINCIPAL}, "Action": "sts:AssumeRole"}
    permission = {
        "Effect": "Allow",
        "Action": "ec2:TerminateInstances",
        "Resource": "arn:aws:ec2:*:*:instance/*",
        "Condition": {"StringLike": {"aws:ResourceTag/gputx:run": "*"}},
    }
    roles = emulator.iam()
    roles.create_role(
        role_name=SCHEDULER_ROLE,
        assume_role_policy_document=_policy(trust),
        path="/",
        permissions_boundary=None,
        description="Ends instances of gputx whose client is gone",
        tags=[{"Key": "gputx:setup", "Value": "1"}],
        max_session_duration="3600",
    )
    roles.put_role_policy(SCHEDULER_ROLE, "terminate-runs", _policy(permission))
    account.schedules.add_group(account.region, SCHEDULE_GROUP, {"gputx:setup": "1"})


def _policy(statement: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
