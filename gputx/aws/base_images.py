"""The image that others are made of, and the instance types that can boot it."""

from __future__ import annotations

from collections.abc import Sequence

from gputx.aws import tags
from gputx.aws.errors import AwsError
from gputx.aws.images import root_disk, why_unfinished
from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError, InputError
from gputx.models import Image

_PARAMETER = "ssm:"
_SSH_PORT = "22"


def find_base(session: AwsSession, base: str, *, architecture: str, ssh_user: str) -> Image:
    """The image that a recipe begins with.

    Args:
        base: an image id, or ``ssm:`` and the name of a public parameter that holds one.
        architecture: what the recipe is for, in EC2's words: ``x86_64``.
        ssh_user: its login name, which no API knows.

    Raises:
        ConfigurationError: there is none, or it can't be launched (any more).
        InputError: it is for another architecture.
        AwsError: AWS refuses or does not answer.
    """
    image_id = _published(session, base.removeprefix(_PARAMETER)) if base.startswith(_PARAMETER) else base
    found = session.pages("ec2", "DescribeImages", "Images", Filters=[{"Name": "image-id", "Values": [image_id]}])
    named = image_id if image_id == base else f"{image_id} (of {base.removeprefix(_PARAMETER)})"
    if not found:
        raise ConfigurationError(
            f"there is no base image {named} in {session.region}: it was withdrawn, or is of another region",
            hint="leave --base out for the newest Ubuntu, or name an image of this region",
        )
    image, labels = found[0], tags.read(found[0].get("Tags"))
    if why := why_unfinished(image, labels):
        raise ConfigurationError(f"base image {named} can't be used: {why}", hint="name another with --base")
    if image.get("Architecture") != architecture:
        raise InputError(
            f"base image {named} is for {image.get('Architecture')}, and the recipe for {architecture}",
            hint="name a base of the recipe's architecture with --base",
        )
    root, root_gb = root_disk(image)
    return Image(
        id=str(image["ImageId"]),
        name=str(image.get("Name", "")),
        contract=0,
        model="",
        model_revision="",
        ssh_user=ssh_user,
        ssh_port=int(labels.get(tags.SSH_PORT, _SSH_PORT)),
        root_device=root,
        root_gb=root_gb,
    )


def check_types(session: AwsSession, types: Sequence[str], *, architecture: str, gpu: bool) -> None:
    """See that each instance type can boot the image, and has an NVIDIA GPU where the recipe needs one.

    A type that EC2 does not know is not judged here: no pool offers it, which is told with what does.

    Raises:
        InputError: one can't be used.
        AwsError: AWS refuses or does not answer.
    """
    wanted = [{"Name": "instance-type", "Values": list(types)}]
    for kind in session.pages("ec2", "DescribeInstanceTypes", "InstanceTypes", Filters=wanted):
        name = kind["InstanceType"]
        runs = kind.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
        if architecture not in runs:
            raise InputError(
                f"{name} is a machine for {', '.join(runs) or 'nothing known'}, and the recipe is for {architecture}",
                hint="choose another --instance-type, such as g4dn.xlarge",
            )
        makers = {item.get("Manufacturer", "").upper() for item in kind.get("GpuInfo", {}).get("Gpus", [])}
        if gpu and "NVIDIA" not in makers:
            raise InputError(
                f"{name} has no NVIDIA GPU, which this recipe is made and checked for",
                hint="choose another --instance-type, such as g4dn.xlarge",
            )


def _published(session: AwsSession, parameter: str) -> str:
    try:
        return str(session.call("ssm", "GetParameter", Name=parameter)["Parameter"]["Value"])
    except AwsError as error:
        raise ConfigurationError(
            f"Systems Manager names no base image in {session.region} under {parameter}: {error.message}",
            hint="name an image of this region with --base ami-…",
        ) from error
