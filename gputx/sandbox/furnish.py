"""What an account holds where gputx was set up: a private bucket, and one image that keeps image contract 1.

The one place in the sandbox that knows gputx's names.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gputx.sandbox.guests import make_image
from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.account import EmulatedAccount

MODEL = Path(__file__).parent / "tiny_sv"
MODEL_ID = "gputx/tiny-sv"
IMAGE_NAME = "gputx-sandbox-1"
SSH_USER = "ubuntu"


def furnish(account: EmulatedAccount, images: Path) -> None:
    """Put in bucket ``transcription-<account id>`` and image ``gputx-sandbox-1``."""
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
