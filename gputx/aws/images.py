"""Finding the image to boot, and refusing one we can't speak with before anything is launched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputx.aws import tags
from gputx.aws.errors import AwsError
from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError
from gputx.models import CONTRACT, Image


def find_image(session: AwsSession, image_id: str | None) -> Image:
    """The named image, or the account's newest one that keeps our contract.

    Raises:
        ConfigurationError: there is none, or it keeps another contract.
    """
    if image_id:
        try:
            found = session.call("ec2", "DescribeImages", ImageIds=[image_id])["Images"]
        except AwsError as error:
            raise ConfigurationError(f"image {image_id} can't be used: {error.message}", hint=_MAKE_ONE) from error
    else:
        filters = [
            {"Name": "tag-key", "Values": [tags.CONTRACT]},
            {"Name": "state", "Values": ["available"]},
        ]
        found = session.call("ec2", "DescribeImages", Owners=["self"], Filters=filters)["Images"]
    return choose(found, region=session.region, asked=image_id)


_MAKE_ONE = "gputx build-ami makes one; the sandbox has one: --on sandbox, in eu-north-1"


def choose(found: list[dict[str, Any]], *, region: str, asked: str | None = None) -> Image:
    """Pick from DescribeImages' answer: the newest that is finished and keeps contract ``CONTRACT``."""
    newest_first = sorted(found, key=lambda image: str(image.get("CreationDate", "")), reverse=True)
    tagged = [(image, tags.read(image.get("Tags"))) for image in newest_first]
    finished = [(image, labels) for image, labels in tagged if why_unfinished(image, labels) is None]
    for image, labels in finished:
        if labels.get(tags.CONTRACT) == str(CONTRACT):
            return _image(image, labels)
    if asked and tagged and not finished:
        raise ConfigurationError(
            f"image {asked} can't be used: {why_unfinished(*tagged[0])}", hint="`gputx ami list` shows those that can"
        )
    if not finished:
        what = f"no image {asked}" if asked else "no gputx image"
        raise ConfigurationError(f"there is {what} in this account in {region}", hint=_MAKE_ONE)
    image, labels = finished[0]
    number = labels.get(tags.CONTRACT)
    said = f"keeps image contract {number}" if number else "is no gputx image"
    raise ConfigurationError(
        f"image {image['ImageId']} ({image.get('Name', 'no name')}) {said}; this gputx speaks contract {CONTRACT}",
        hint="use an image of this contract, or the gputx version that made the image",
    )


def why_unfinished(image: Mapping[str, Any], labels: Mapping[str, str]) -> str | None:
    """Why an image may not be booted yet, or ever; None where it may.

    A build takes the deadline off an image in its very last step, once the image has been checked.
    """
    state = str(image.get("State", "available"))
    if state != "available":
        return f"it is {state}"
    return "its build has not finished, or is being undone" if tags.DEADLINE in labels else None


def root_disk(image: Mapping[str, Any]) -> tuple[str, int]:
    """The device that an image boots from, and its size in GB: no volume made of it can be smaller."""
    root = str(image.get("RootDeviceName") or Image.root_device)
    disks = [(disk.get("DeviceName"), disk.get("Ebs", {})) for disk in image.get("BlockDeviceMappings", [])]
    return root, next((int(e.get("VolumeSize", 0)) for device, e in disks if device == root), 0)


def _image(image: dict[str, Any], labels: dict[str, str]) -> Image:
    root, root_gb = root_disk(image)
    try:
        return Image(
            id=image["ImageId"],
            name=image.get("Name", ""),
            contract=int(labels[tags.CONTRACT]),
            model=labels["gputx:model"],
            model_revision=labels["gputx:model-revision"],
            ssh_user=labels["gputx:ssh-user"],
            ssh_port=int(labels[tags.SSH_PORT]),
            root_device=root,
            root_gb=root_gb,
        )
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"image {image['ImageId']} lacks a tag of image contract {CONTRACT}: {error}", hint=_MAKE_ONE
        ) from None
