"""Making an image of an instance or of an image elsewhere, and seeing it through to where a run may boot it.

An image carries its run and a deadline from the very call that makes it, on its snapshots as well, so that it is found
and undone whatever happens to whoever asked for it. Only the last step takes the deadline off, and only what has
none is ever booted (:func:`gputx.aws.images.why_unfinished`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gputx.aws import tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.patience import patiently
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import GputxError

_SEEN_WITHIN_SECONDS = 60.0
_FIRST_POLL, _LONGEST_POLL = 1.0, 10.0
_NOT_YET = frozenset({"pending", "transient"})


class ImageFailedError(GputxError):
    """EC2 could not make the image, or did not within the time given."""


@dataclass(frozen=True)
class Made:
    """An image that EC2 has made, and the snapshots it consists of."""

    id: str
    name: str
    snapshots: tuple[str, ...]


def create(
    session: AwsSession, *, instance_id: str, name: str, description: str, labels: Mapping[str, str], stop: Stop
) -> str:
    """Ask for an image of an instance, which is rebooted for it. Returns its id; it is pending then.

    CreateImage takes no token, but a name is unique in an account's region: the same name asked for again makes no
    second image, and says so.

    Args:
        labels: tags, with the run's and its deadline among them.

    Raises:
        AwsError: the last answer; ``lost`` where the image may exist all the same.
    """
    parameters = {
        "InstanceId": instance_id,
        "Name": name,
        "Description": description,
        "TagSpecifications": [tags.specification(kind, labels) for kind in ("image", "snapshot")],
    }
    return _ask(session, "CreateImage", parameters, labels[tags.RUN], stop)


def copy(
    session: AwsSession,
    *,
    image_id: str,
    region: str,
    name: str,
    description: str,
    token: str,
    labels: Mapping[str, str],
    stop: Stop,
) -> str:
    """Ask for a copy of an image of ``region`` in the session's own. Returns its id. Raises as :func:`create`."""
    parameters = {
        "SourceImageId": image_id,
        "SourceRegion": region,
        "Name": name,
        "Description": description,
        "ClientToken": token,
        "TagSpecifications": [tags.specification(kind, labels) for kind in ("image", "snapshot")],
    }
    return _ask(session, "CopyImage", parameters, labels[tags.RUN], stop)


def wait(
    session: AwsSession, image_id: str, *, timeout: float, stop: Stop, look: Callable[[str], None] = lambda _: None
) -> Made:
    """Wait until the image is there.

    Args:
        timeout: seconds.
        look: told its state each time that it is looked at.

    Raises:
        ImageFailedError: EC2 could not make it, it was taken away, or it is still pending after ``timeout``.
        InterruptedBySignal: a stop was requested.
        AwsError: AWS refuses or does not answer.
    """
    give_up = session.clock.time() + timeout
    pause, seen = _FIRST_POLL, False
    while True:
        image = patiently(session.clock, lambda: describe(session, image_id), stop=stop)
        if image is None and seen:
            raise ImageFailedError(f"image {image_id} was deregistered while it was being made")
        seen = image is not None
        state = str(image["State"]) if image else "not visible"
        look(state)
        if image and state == "available":
            return Made(image_id, str(image.get("Name", "")), snapshots_of(image))
        if image and state not in _NOT_YET:
            reason = image.get("StateReason", {}).get("Message") or "EC2 gives no reason"
            raise ImageFailedError(
                f"image {image_id} is {state}: {reason}", hint="build it again; nothing of it was kept"
            )
        if session.clock.time() >= give_up:
            raise ImageFailedError(
                f"image {image_id} was still {state} after {timeout / 60:.0f} min",
                hint="build it again; nothing of it was kept",
            )
        session.clock.sleep(pause, stop)
        pause = min(pause * 1.5, _LONGEST_POLL)


def finish(session: AwsSession, made: Made, labels: Mapping[str, str]) -> None:
    """Say what the image is, and then, as the last word, that it is finished.

    Args:
        labels: the tags of image contract 1, and whatever else is told of it.

    Raises:
        AwsError: where it can't be seen whether the image is finished, ``lost``.
    """
    ids = [made.id, *made.snapshots]
    clock = session.clock
    patiently(clock, lambda: session.call("ec2", "CreateTags", Resources=[made.id], Tags=tags.listed(labels)))
    patiently(clock, lambda: session.call("ec2", "DeleteTags", Resources=ids, Tags=[{"Key": tags.DEADLINE}]))


def reopen(session: AwsSession, made: Made) -> None:
    """Take back that it is finished, before it is taken away: what is cut short then is left for `gputx reap`.

    Raises AwsError.
    """
    due = {tags.DEADLINE: tags.stamp_of(session.clock.time())}
    session.call("ec2", "CreateTags", Resources=[made.id, *made.snapshots], Tags=tags.listed(due))


def describe(session: AwsSession, image_id: str) -> dict[str, Any] | None:
    """An image of the account as EC2 shows it; None where it is not to be seen. Raises AwsError."""
    named = [{"Name": "image-id", "Values": [image_id]}]
    found = session.pages("ec2", "DescribeImages", "Images", Owners=["self"], Filters=named)
    return found[0] if found else None


def snapshots_of(image: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the snapshots that an image consists of."""
    disks = [disk.get("Ebs", {}) for disk in image.get("BlockDeviceMappings", [])]
    return tuple(str(disk["SnapshotId"]) for disk in disks if disk.get("SnapshotId"))


def _ask(session: AwsSession, operation: str, parameters: Mapping[str, Any], run_id: str, stop: Stop) -> str:
    may_exist = False

    def once() -> str:
        nonlocal may_exist
        try:
            return str(session.call("ec2", operation, single_attempt=True, **parameters)["ImageId"])
        except AwsError as error:
            may_exist = may_exist or error.lost
            if error.lost and (found := _visible(session, run_id)):
                return found
            if error.meaning is Meaning.EXISTS and may_exist:
                return _wait_to_see(session, run_id, stop)
            error.lost = may_exist
            raise

    return patiently(session.clock, once, stop=stop)


def _visible(session: AwsSession, run_id: str) -> str | None:
    mine = [{"Name": f"tag:{tags.RUN}", "Values": [run_id]}]
    try:
        found = session.pages("ec2", "DescribeImages", "Images", Owners=["self"], Filters=mine)
    except AwsError:
        return None
    return str(found[0]["ImageId"]) if found else None


def _wait_to_see(session: AwsSession, run_id: str, stop: Stop) -> str:
    """The name is taken, and only we use it: the image is there, and will be seen."""
    give_up = session.clock.time() + _SEEN_WITHIN_SECONDS
    while not (found := _visible(session, run_id)):
        if session.clock.time() >= give_up:
            raise AwsError(
                f"an image of run {run_id} was made, and can't be seen",
                code="NotVisible",
                meaning=Meaning.FATAL,
                lost=True,
                hint="gputx reap, in some minutes",
            )
        session.clock.sleep(_FIRST_POLL, stop)
    return found
