"""The plain image to make others from: a Ubuntu that Canonical publishes, as far as a guest is one."""

from __future__ import annotations

import sys
from pathlib import Path

from gputx.sandbox.guests import make_base
from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.account import EmulatedAccount

BASE_NAME = "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-sandbox"
CANONICAL = "099720109477"


def publish_base(account: EmulatedAccount, images: Path) -> None:
    """Put the image in; Systems Manager names it under Canonical's public parameters."""
    image = emulator.ec2(account.region).register_image(BASE_NAME, "Canonical, Ubuntu, as far as a guest is one")
    image.architecture = "x86_64"
    image.virtualization_type = "hvm"
    image.root_device_type = "ebs"
    image.owner_id = image.ebs_snapshot.owner_id = CANONICAL
    image.launch_permissions.append({"Group": "all"})
    # Port 22 may not be ours to bind here, and whoever boots the image has to know.
    image.add_tag("gputx:ssh-port", str(account.ssh_port))
    make_base(images / image.id, python=Path(sys.executable))
    account.machines.disks[image.id] = images / image.id
    account.base_image = image.id
