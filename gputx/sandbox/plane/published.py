"""What others publish for all accounts: the parameters that name the newest image of an operating system."""

from __future__ import annotations

from gputx.sandbox.plane import emulator

_UBUNTU = "/aws/service/canonical/ubuntu/server/{version}/stable/current/amd64/hvm/{disk}/ami-id"
_VERSIONS = ("22.04", "24.04")
_DISKS = ("ebs-gp2", "ebs-gp3")


class PublishedImages:
    """Canonical's parameters, put in when somebody first asks Systems Manager for anything."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._published = False

    def publish(self, image_id: str, at: float) -> None:
        """All versions are the one plain image that the account has; nothing where it has none."""
        if self._published or not image_id:
            return
        names = [_UBUNTU.format(version=version, disk=disk) for version in _VERSIONS for disk in _DISKS]
        emulator.publish_parameters(self._region, dict.fromkeys(names, image_id), at)
        self._published = True
