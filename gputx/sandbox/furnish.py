"""What a run needs of an account: a private bucket, one image that keeps image contract 1, and the role and the group
of the schedules that end instances. `gputx setup` finds them to be its own, and makes the rest of what it makes.

The one place in the sandbox that knows gputx's names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gputx import iam
from gputx.sandbox.guests import make_image
from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.account import EmulatedAccount

MODEL = Path(__file__).parent / "tiny_sv"
MODEL_ID = "gputx/tiny-sv"
IMAGE_NAME = "gputx-sandbox-1"
SSH_USER = "ubuntu"
SCHEDULE_GROUP = "gputx"
ROLE_POLICY = "gputx"
SETUP_TAG = {"gputx:setup": "1"}


def furnish(account: EmulatedAccount, images: Path) -> None:
    """Put in bucket ``transcription-<account id>``, image ``gputx-sandbox-1``, and role and group for schedules."""
    store = emulator.s3()
    bucket = f"transcription-{emulator.ACCOUNT_ID}"
    store.create_bucket(bucket, account.region)
    store.put_bucket_tagging(bucket, dict(SETUP_TAG))
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
    _furnish_schedules(account)


def _furnish_schedules(account: EmulatedAccount) -> None:
    """A role that may end the instances of runs, and no others, and the group that schedules are made in."""
    values = {"Account": emulator.ACCOUNT_ID}
    roles = emulator.iam()
    roles.create_role(
        role_name=iam.SCHEDULE_ROLE,
        assume_role_policy_document=json.dumps(iam.trust("scheduler", values)),
        path="/",
        permissions_boundary=None,
        description="Ends instances of gputx whose client is gone",
        tags=[{"Key": tag, "Value": value} for tag, value in SETUP_TAG.items()],
        max_session_duration="3600",
    )
    roles.put_role_policy(iam.SCHEDULE_ROLE, ROLE_POLICY, json.dumps(iam.document("scheduler", values)))
    account.schedules.add_group(account.region, SCHEDULE_GROUP, dict(SETUP_TAG))
