"""Finding the image to boot, and refusing one we can't speak with before anything is launched."""

from __future__ import annotations

from typing import Any

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
            {"Name": "tag-key", "Values": ["gputx:contract"]},
            {"Name": "state", "Values": ["available"]},
        ]
        found = session.call("ec2", "DescribeImages", Owners=["self"], Filters=filters)["Images"]
    return choose(found, region=session.region, asked=image_id)


_MAKE_ONE = "docs/contracts.md says what an image holds; the sandbox has one: --on sandbox, in eu-north-1"


def choose(found: list[dict[str, Any]], *, region: str, asked: str | None = None) -> Image:
    """Pick from DescribeImages' answer: the newest that keeps contract ``CONTRACT``."""
    newest_first = sorted(found, key=lambda image: str(image.get("CreationDate", "")), reverse=True)
    tagged = [(image, {tag["Key"]: tag["Value"] for tag in image.get("Tags", [])}) for image in newest_first]
    for image, tags in tagged:
        if tags.get("gputx:contract") == str(CONTRACT):
            return _image(image, tags)
    if not tagged:
        what = f"no image {asked}" if asked else "no gputx image"
        raise ConfigurationError(f"there is {what} in this account in {region}", hint=_MAKE_ONE)
    image, tags = tagged[0]
    number = tags.get("gputx:contract")
    said = f"keeps image contract {number}" if number else "is no gputx image"
    raise ConfigurationError(
        f"image {image['ImageId']} ({image.get('Name', 'no name')}) {said}; this gputx speaks contract {CONTRACT}",
        hint="use an image of this contract, or the gputx version that made the image",
    )


def _image(image: dict[str, Any], tags: dict[str, str]) -> Image:
    root = image.get("RootDeviceName") or Image.root_device
    disks = [(disk.get("DeviceName"), disk.get("Ebs", {})) for disk in image.get("BlockDeviceMappings", [])]
    try:
        return Image(
            id=image["ImageId"],
            name=image.get("Name", ""),
            contract=int(tags["gputx:contract"]),
            model=tags["gputx:model"],
            model_revision=tags["gputx:model-revision"],
            ssh_user=tags["gputx:ssh-user"],
            ssh_port=int(tags["gputx:ssh-port"]),
            root_device=root,
            root_gb=next((int(e.get("VolumeSize", 0)) for device, e in disks if device == root), 0),
        )
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"image {image['ImageId']} lacks a tag of image contract {CONTRACT}: {error}", hint=_MAKE_ONE
        ) from None
