"""The images that gputx has built in an account: found, told apart, and taken away with their snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gputx.aws import image_making, tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.images import root_disk, why_unfinished
from gputx.aws.session import AwsSession
from gputx.models import CONTRACT

PROFILE = "gputx:profile"


@dataclass(frozen=True)
class Shelved:
    """One image of the account that carries our tags.

    Attributes:
        created_at: seconds since the epoch; None where EC2 does not say.
        unfinished: why it may not be booted; None where it may.
        gb: the size of its disk.
    """

    id: str
    name: str
    region: str
    state: str
    created_at: float | None
    unfinished: str | None
    gb: int
    snapshots: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether this gputx can run on it."""
        return self.unfinished is None and self.labels.get(tags.CONTRACT) == str(CONTRACT)

    @property
    def built_here(self) -> bool:
        """Whether `gputx build-ami` made it: only that is ever taken away."""
        return bool(self.labels.get(tags.RECIPE) and self.labels.get(tags.RUN))

    @property
    def recipe(self) -> str:
        return self.labels.get(tags.RECIPE, "")

    @property
    def profile(self) -> str:
        return self.labels.get(PROFILE, "")


def shelf(session: AwsSession) -> list[Shelved]:
    """All images of the account in the session's region with a tag of ours, newest first. Raises AwsError."""
    wanted = [{"Name": "tag-key", "Values": ["gputx:*"]}]
    found = session.pages("ec2", "DescribeImages", "Images", Owners=["self"], Filters=wanted)
    shelved = [_shelved(session.region, image) for image in found]
    ours = [image for image in shelved if tags.CONTRACT in image.labels or image.recipe]
    return sorted(ours, key=lambda image: (image.created_at or 0.0, image.id), reverse=True)


def find_built(session: AwsSession, recipe: str) -> Shelved | None:
    """The newest finished image that was made of these very inputs. Raises AwsError."""
    return next((image for image in shelf(session) if image.recipe == recipe and image.usable), None)


def take_away(session: AwsSession, image: Shelved) -> None:
    """Deregister an image, and delete the snapshots it consists of.

    From its first call on no run chooses the image, and `gputx reap` finishes what is cut short.

    Raises:
        AwsError: AWS refuses or does not answer.
    """
    image_making.reopen(session, image_making.Made(image.id, image.name, image.snapshots))
    answer = session.call("ec2", "DeregisterImage", ImageId=image.id, DeleteAssociatedSnapshots=True)
    told = answer.get("DeleteSnapshotResults", [])
    gone = {item.get("SnapshotId") for item in told if item.get("ReturnCode") == "success"}
    for snapshot in set(image.snapshots) - gone:
        # EC2 leaves one where another image is made of it, too.
        try:
            session.call("ec2", "DeleteSnapshot", SnapshotId=snapshot)
        except AwsError as error:
            if error.meaning not in {Meaning.GONE, Meaning.IN_USE}:
                raise


def _shelved(region: str, image: Mapping[str, Any]) -> Shelved:
    labels = tags.read(image.get("Tags"))
    _, size = root_disk(image)
    return Shelved(
        id=str(image["ImageId"]),
        name=str(image.get("Name", "")),
        region=region,
        state=str(image.get("State", "")),
        created_at=_time(image.get("CreationDate")),
        unfinished=why_unfinished(image, labels),
        gb=size,
        snapshots=image_making.snapshots_of(image),
        labels=labels,
    )


def _time(when: str | None) -> float | None:
    try:
        return None if when is None else datetime.fromisoformat(when).timestamp()
    except ValueError:
        return None
