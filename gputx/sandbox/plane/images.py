"""Images made of instances: CreateImage, CopyImage, DeregisterImage, and the snapshots behind them."""

from __future__ import annotations

import copy
import logging
import re
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from gputx.sandbox.guests import GuestHost
from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.matching import by_tags, passes
from gputx.sandbox.plane.orders import check_tag_keys
from gputx.sandbox.plane.wire import AwsError, DryRun, NotEmulated, decode_page, encode_page
from gputx.sandbox.rulebook import RuleBook
from gputx.sandbox.timers import Timers
from gputx.sandbox.trees import discard_tree, remove_tree

log = logging.getLogger(__name__)

_PAGE = 1000
_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")
_TAGGABLE = ("image", "snapshot")
# A running system may change a file while it is copied, which is no reason to give up at once.
_ATTEMPTS = 3
# A copy takes as long as it takes in real time, whatever the clock says.
_COPY_SECONDS = 5.0
_MORE_FILTERS = r"owner-alias|progress|storage-tier|transfer-type"


@dataclass
class _Copy:
    """A disk being copied to an image's directory; ``error`` says what went wrong, empty if nothing did."""

    path: Path
    done: threading.Event = field(default_factory=threading.Event)
    error: str = ""


class ImageActions:
    """Called under the account's lock; disks are copied on threads of their own.

    Args:
        directory: where the disks of images are.
    """

    def __init__(
        self,
        timers: Timers,
        rules: RuleBook,
        machines: Machines,
        guests: GuestHost,
        *,
        directory: Path,
    ) -> None:
        self._timers = timers
        self._rules = rules
        self._machines = machines
        self._guests = guests
        self._directory = directory
        self._copied: dict[str, str] = {}
        """Client token of a copy → its image."""

    def create_image(self, call: Ec2Call) -> dict[str, Any]:
        """CreateImage: the instance is rebooted for it unless NoReboot says that its disk is to be taken as it is."""
        params, backend = call.params, call.backend
        machine = self._machines.get(params.get("InstanceId") or "", backend)
        name = params.get("Name") or ""
        _check_name(backend, name)
        tags = _tags_of(params)
        if machine.state not in ("running", "stopped"):
            raise AwsError(
                "IncorrectInstanceState",
                f"The instance '{machine.id}' is not in a state from which an image can be made: {machine.state}.",
            )
        if params.get("BlockDeviceMappings"):
            raise NotEmulated("ec2", "CreateImage", "with BlockDeviceMappings")
        if len(machine.instance.block_device_mapping) != 1:
            raise NotEmulated("ec2", "CreateImage", "of an instance with other disks than the one it boots from")
        if params.get("DryRun"):
            raise DryRun
        image = backend.create_image(machine.id, name, params.get("Description") or "", [])
        image.state, image.root_device_type = "pending", "ebs"
        _describe_disk(backend, machine, image)
        for kind, resource in (("image", image), ("snapshot", image.ebs_snapshot)):
            backend.create_tags([resource.id], tags.get(kind, {}))
        taken = self._begin_copy(machine, image.id, reboot=not params.get("NoReboot"))
        due = self._timers.now() + self._rules.value("imaging")
        self._timers.at(due, lambda _: self._finish(backend, image, taken))
        return {"ImageId": image.id}

    def copy_image(self, call: Ec2Call) -> Any:
        """CopyImage: pending as long as any other; the copy boots from the same directory, which nothing writes to."""
        params, backend = call.params, call.backend
        token = params.get("ClientToken")
        if token and token in self._copied:
            return {"ImageId": self._copied[token]}
        source = emulator.ec2(params["SourceRegion"]).amis.get(params["SourceImageId"])
        if source is None:
            raise AwsError("InvalidAMIID.NotFound", f"The image id '[{params['SourceImageId']}]' does not exist")
        if source.state != "available":
            raise AwsError("InvalidAMIID.Unavailable", f"The image ID '{source.id}' is not available")
        _check_name(backend, params.get("Name") or "")
        tags = _tags_of(params)
        if params.get("DryRun"):
            raise DryRun
        image = backend.amis[call.to_moto()["ImageId"]]
        image.root_device_type = source.root_device_type
        image.state, image.ebs_snapshot.status = "pending", "pending"
        image.ebs_snapshot.volume.size = source.ebs_snapshot.volume.size
        if params.get("CopyImageTags"):
            backend.create_tags([image.id], dict(source.ec2_backend.tags.get(source.id, {})))
        for kind, resource in (("image", image), ("snapshot", image.ebs_snapshot)):
            backend.create_tags([resource.id], tags.get(kind, {}))
        if token:
            self._copied[token] = image.id
        # From now on, because the source may be deregistered before the copy is there.
        if disk := self._machines.disks.get(source.id):
            self._machines.disks[image.id] = disk
        self._timers.at(self._timers.now() + self._rules.value("imaging"), lambda _: self._finish_copy(backend, image))
        return {"ImageId": image.id}

    @staticmethod
    def _finish_copy(backend: Any, image: Any) -> None:
        if image.id in backend.amis:
            image.state = "available"
        image.ebs_snapshot.status = "completed"

    def deregister_image(self, call: Ec2Call) -> dict[str, Any]:
        """DeregisterImage, of a pending image too. Its snapshot stays unless DeleteAssociatedSnapshots is given."""
        backend, image_id = call.backend, call.params["ImageId"]
        image = backend.amis.get(image_id)
        call.to_moto()
        backend.tags.pop(image_id, None)
        if not any(machine.instance.image_id == image_id for machine in self._machines.all()):
            # What was launched from it may still have to boot.
            disk = self._machines.disks.pop(image_id, None)
            if disk and disk not in self._machines.disks.values():
                discard_tree(disk)
        answer: dict[str, Any] = {"Return": True}
        if call.params.get("DeleteAssociatedSnapshots"):
            snapshot_id = image.ebs_snapshot.id
            gone = backend.snapshots.pop(snapshot_id, None)
            backend.tags.pop(snapshot_id, None)
            if gone:
                answer["DeleteSnapshotResults"] = [{"SnapshotId": snapshot_id, "ReturnCode": "success"}]
        return answer

    def delete_snapshot(self, call: Ec2Call) -> None:
        """DeleteSnapshot; moto refuses while an image uses it (InvalidSnapshot.InUse)."""
        call.to_moto()
        call.backend.tags.pop(call.params["SnapshotId"], None)

    def describe_snapshots(self, call: Ec2Call) -> dict[str, Any]:
        """DescribeSnapshots, by ids and owners, through every filter, in pages."""
        backend, params = call.backend, call.params
        found = list(backend.snapshots.values())
        if ids := params.get("SnapshotIds"):
            for snapshot_id in ids:
                if snapshot_id not in backend.snapshots:
                    raise AwsError("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
            found = [backend.snapshots[snapshot_id] for snapshot_id in ids]
        if owners := params.get("OwnerIds"):
            accounts = {emulator.ACCOUNT_ID if owner == "self" else owner for owner in owners}
            found = [snapshot for snapshot in found if snapshot.owner_id in accounts]
        for name, patterns in call.filters.items():
            found = [snapshot for snapshot in found if _passes(backend, snapshot, name, patterns)]
        start = decode_page(params.get("NextToken"))
        end = start + int(params.get("MaxResults") or _PAGE)
        return {"Snapshots": found[start:end], "NextToken": encode_page(end) if end < len(found) else None}

    def _begin_copy(self, machine: Machine, image_id: str, *, reboot: bool) -> _Copy:
        taken = _Copy(self._directory / image_id)
        machine.copies.append(taken.done)
        # A machine that is down has nothing to reboot.
        if reboot and machine.state == "running":
            self._machines.reboot(machine, while_down=lambda: self._copy(machine, taken))
        else:
            threading.Thread(
                target=self._copy_live, args=(machine, taken), name=f"copy-{image_id}", daemon=True
            ).start()
        return taken

    def _copy_live(self, machine: Machine, taken: _Copy) -> None:
        if machine.guest:
            machine.guest.settle(boots=True)  # its disk is there once it has booted
        self._copy(machine, taken)

    def _copy(self, machine: Machine, taken: _Copy) -> None:
        try:
            for _ in range(_ATTEMPTS):
                taken.error = self._try_copy(machine, taken.path)
                if not taken.error:
                    break
        finally:
            taken.done.set()

    def _try_copy(self, machine: Machine, path: Path) -> str:
        """What went wrong; empty if nothing did."""
        remove_tree(path)
        try:
            self._guests.snapshot(machine.id, path)
        except (OSError, subprocess.CalledProcessError) as error:
            log.info("the disk of %s could not be copied: %s", machine.id, error)
            return str(error)
        return ""

    def _finish(self, backend: Any, image: Any, taken: _Copy) -> None:
        if not taken.done.wait(_COPY_SECONDS):
            self._timers.later(0.1, lambda _: self._finish(backend, image, taken))
            return
        snapshot = image.ebs_snapshot
        snapshot.status = "error" if taken.error else "completed"
        if image.id not in backend.amis:
            discard_tree(taken.path)
        elif taken.error:
            image.state = "failed"
            image.state_reason = {"Code": "Server.InternalError", "Message": taken.error}
        else:
            image.state = "available"
            self._machines.disks[image.id] = taken.path
        log.info("%s is %s", image.id, image.state)


def _check_name(backend: Any, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AwsError(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '[', "
            "']', ' ', '.', '/', '-', ''', '@' and '_'",
        )
    for image in backend.amis.values():
        if image.name == name and image.owner_id == emulator.ACCOUNT_ID and image.state != "failed":
            raise AwsError(
                "InvalidAMIName.Duplicate",
                f"AMI name {name} is already in use by AMI {image.id}",
            )


def _tags_of(params: dict[str, Any]) -> dict[str, dict[str, str]]:
    tags: dict[str, dict[str, str]] = {}
    for entry in params.get("TagSpecifications") or []:
        if entry.get("ResourceType") not in _TAGGABLE:
            raise AwsError(
                "InvalidParameterValue",
                f"'{entry.get('ResourceType')}' is not a valid taggable resource type for this operation.",
            )
        check_tag_keys(tag["Key"] for tag in entry.get("Tags") or [])
        given = {tag["Key"]: tag.get("Value", "") for tag in entry.get("Tags") or []}
        tags.setdefault(entry["ResourceType"], {}).update(given)
    return tags


def _describe_disk(backend: Any, machine: Machine, image: Any) -> None:
    """Say of the snapshot what is true of the disk it is of, which may be gone before it."""
    device = machine.instance.block_device_mapping[machine.instance.root_device_name]
    volume = backend.volumes[device.volume_id]
    snapshot = image.ebs_snapshot
    snapshot.volume = copy.copy(volume)
    snapshot.encrypted = volume.encrypted
    snapshot.status = "pending"


def _passes(backend: Any, snapshot: Any, name: str, patterns: list[str]) -> bool:
    said = by_tags(name, patterns, backend.tags.get(snapshot.id, {}))
    if said is not None:
        return said
    known: dict[str, Callable[[], Iterable[object]]] = {
        "description": lambda: [snapshot.description],
        "encrypted": lambda: [bool(snapshot.encrypted)],
        "owner-id": lambda: [snapshot.owner_id],
        "snapshot-id": lambda: [snapshot.id],
        "start-time": lambda: [snapshot.start_time.replace(tzinfo=UTC)],
        "status": lambda: [snapshot.status],
        "volume-id": lambda: [snapshot.volume.id],
        "volume-size": lambda: [snapshot.volume.size],
    }
    return passes("DescribeSnapshots", name, patterns, known, _MORE_FILTERS)
