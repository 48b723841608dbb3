"""Everything in an account that carries our tag and should not outlive its run.

The tag is asked for where an API can filter by it, and looked at again in every answer: what does not carry it in so
many letters is not ours, whatever it is called. What has ended already, and what goes with its instance, is not left
over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gputx.aws import costs, identity, instances, removal, schedule, tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.session import AwsSession
from gputx.errors import GputxError
from gputx.models import Kind, Leftover

_OURS = [{"Name": "tag-key", "Values": [tags.RUN]}]
_QUEUE_PREFIX = "gputx-"
_QUEUES_A_PAGE = 1000
"""ListQueues tells of a next page only where it was told how long one is."""

_OPEN_REQUESTS = frozenset({"open", "active", "disabled"})
_ENDED_FLEETS = frozenset({"deleted", "deleted_running", "deleted_terminating", "failed"})
_ASKED_AT_ONCE = 6


@dataclass(frozen=True)
class _Found:
    """One thing as its own Describe shows it."""

    id: str
    labels: Mapping[str, str]
    created: float | None = None
    state: str = ""
    cost: float | None = None


class Inventory:
    """One account in one region. Implements ``gputx.lease.reaper.Broom``."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def leftovers(
        self,
        kinds: Collection[Kind] = tuple(Kind),
        *,
        failed: Callable[[Kind, GputxError], None] | None = None,
        priced: bool = False,
    ) -> list[Leftover]:
        """What there is of these kinds, in the order of ``Kind``.

        A fleet of type ``instant`` is shown by EC2 to nobody who does not know its id; its instances are.

        Args:
            failed: told of each kind that could not be looked for; without it, the first such failure is raised.
            priced: ask for prices, too, so that instances have a cost.

        Raises:
            GputxError: there are no usable credentials, or as above.
        """
        with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="inventory") as together:
            asked = {kind: together.submit(self._look, kind, priced) for kind in Kind if kind in kinds}
            found = []
            for kind, answer in asked.items():
                try:
                    found.extend(answer.result())
                except GputxError as error:
                    if failed is None or error.renewable:
                        raise
                    failed(kind, error)
        return found

    def remove(self, leftover: Leftover) -> bool:
        """End or delete this one thing; False where its end was not seen, or something still holds it.

        Raises:
            GputxError: AWS refuses or does not answer.
        """
        return removal.remove(self._session, leftover)

    def ending_command(self, leftover: Leftover) -> str:
        """What a person can paste to end it by hand. Asks nobody."""
        return removal.command(leftover)

    def renew(self) -> None:
        """Look for new credentials, where those in use have expired. Asks nobody, and may find none."""
        self._session.renew()

    def labels_of(self, kind: Kind, id_: str) -> dict[str, str] | None:
        """The tags of an instance, key pair or security group by its id or name.

        None where there is none that can be seen, where it is ending, and for every other kind. Raises AwsError.
        """
        if kind is Kind.INSTANCE:
            seen = instances.describe(self._session, id_)
            return seen.tags if seen is not None and seen.live else None
        question = _BY_ID.get(kind)
        if question is None:
            return None
        operation, key, name = question
        answer = self._session.call("ec2", operation, Filters=[{"Name": name, "Values": [id_]}])[key]
        return tags.read(answer[0].get("Tags")) if answer else None

    def _look(self, kind: Kind, priced: bool) -> list[Leftover]:
        found = _instances(self._session, priced) if kind is Kind.INSTANCE else _LISTS[kind](self._session)
        return [self._leftover(kind, item) for item in found if item.labels.get(tags.RUN)]

    def _leftover(self, kind: Kind, item: _Found) -> Leftover:
        started = tags.time_of(item.labels, tags.STARTED)
        return Leftover(
            kind=kind,
            id=item.id,
            region=self._session.region,
            run_id=item.labels[tags.RUN],
            owner=identity.lasting(item.labels.get(tags.OWNER, "")),
            journal=item.labels.get(tags.JOURNAL, ""),
            purpose=item.labels.get(tags.PURPOSE, ""),
            deadline=tags.time_of(item.labels, tags.DEADLINE),
            created_at=started if item.created is None else item.created,
            heartbeat=tags.time_of(item.labels, tags.HEARTBEAT),
            state=item.state,
            cost=item.cost,
        )


def _instances(session: AwsSession, priced: bool) -> Iterator[_Found]:
    live = [instance for instance in instances.find(session) if instance.live]
    cost = costs.so_far(session, live) if priced else {}
    for instance in live:
        yield _Found(instance.id, instance.tags, instance.launched_at, instance.state, cost.get(instance.id))


def _fleets(session: AwsSession) -> Iterator[_Found]:
    for fleet in session.pages("ec2", "DescribeFleets", "Fleets"):
        if fleet["FleetState"] not in _ENDED_FLEETS:
            yield _Found(fleet["FleetId"], _labels(fleet), _time(fleet.get("CreateTime")), fleet["FleetState"])


def _spot_requests(session: AwsSession) -> Iterator[_Found]:
    for item in session.pages("ec2", "DescribeSpotInstanceRequests", "SpotInstanceRequests", Filters=_OURS):
        if item["State"] in _OPEN_REQUESTS:
            yield _Found(item["SpotInstanceRequestId"], _labels(item), _time(item.get("CreateTime")), item["State"])


def _schedules(session: AwsSession) -> Iterator[_Found]:
    for name, labels in schedule.describe(session):
        yield _Found(name, labels)


def _key_pairs(session: AwsSession) -> Iterator[_Found]:
    for key in session.call("ec2", "DescribeKeyPairs", Filters=_OURS)["KeyPairs"]:
        yield _Found(key["KeyName"], _labels(key), _time(key.get("CreateTime")))


def _groups(session: AwsSession) -> Iterator[_Found]:
    for group in session.pages("ec2", "DescribeSecurityGroups", "SecurityGroups", Filters=_OURS):
        yield _Found(group["GroupId"], _labels(group))


def _interfaces(session: AwsSession) -> Iterator[_Found]:
    for item in session.pages("ec2", "DescribeNetworkInterfaces", "NetworkInterfaces", Filters=_OURS):
        if not _goes_with_instance([item["Attachment"]] if item.get("Attachment") else []):
            yield _Found(item["NetworkInterfaceId"], tags.read(item.get("TagSet")), state=item.get("Status", ""))


def _volumes(session: AwsSession) -> Iterator[_Found]:
    for volume in session.pages("ec2", "DescribeVolumes", "Volumes", Filters=_OURS):
        if volume["State"] not in {"deleting", "deleted"} and not _goes_with_instance(volume.get("Attachments", [])):
            yield _Found(volume["VolumeId"], _labels(volume), _time(volume.get("CreateTime")), volume["State"])


def _goes_with_instance(attachments: list[Mapping[str, Any]]) -> bool:
    """Whether it is attached, and nothing says that it will stay when its instance ends."""
    return bool(attachments) and all(attachment.get("DeleteOnTermination") is not False for attachment in attachments)


def _launch_templates(session: AwsSession) -> Iterator[_Found]:
    for item in session.pages("ec2", "DescribeLaunchTemplates", "LaunchTemplates", Filters=_OURS):
        yield _Found(item["LaunchTemplateId"], _labels(item), _time(item.get("CreateTime")))


def _queues(session: AwsSession) -> Iterator[_Found]:
    page = {"PageSize": _QUEUES_A_PAGE}
    for url in session.pages("sqs", "ListQueues", "QueueUrls", QueueNamePrefix=_QUEUE_PREFIX, PaginationConfig=page):
        try:
            labels = session.call("sqs", "ListQueueTags", QueueUrl=url).get("Tags", {})
        except AwsError as error:
            # A queue is listed for up to a minute after it was deleted.
            if error.meaning is not Meaning.GONE:
                raise
            continue
        yield _Found(url, labels)


def _images(session: AwsSession) -> Iterator[_Found]:
    """Unfinished images: the deadline is taken off one that has been finished, and then it may stay for ever."""
    for image in session.pages("ec2", "DescribeImages", "Images", Owners=["self"], Filters=_OURS):
        if _unfinished(_labels(image)):
            created = _time_in_words(image.get("CreationDate"))
            yield _Found(image["ImageId"], _labels(image), created, image.get("State", ""))


def _snapshots(session: AwsSession) -> Iterator[_Found]:
    """Unfinished snapshots, without those that a finished image is made of."""
    found = session.pages("ec2", "DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=_OURS)
    unfinished = [snapshot for snapshot in found if _unfinished(_labels(snapshot))]
    if not unfinished:
        return
    images = session.pages("ec2", "DescribeImages", "Images", Owners=["self"])
    kept = {
        disk.get("Ebs", {}).get("SnapshotId")
        for image in images
        if not _unfinished(_labels(image))
        for disk in image.get("BlockDeviceMappings", [])
    }
    for item in unfinished:
        if item["SnapshotId"] not in kept:
            yield _Found(item["SnapshotId"], _labels(item), _time(item.get("StartTime")), item.get("State", ""))


def _unfinished(labels: Mapping[str, str]) -> bool:
    return bool(labels.get(tags.RUN)) and tags.DEADLINE in labels


def _labels(description: Mapping[str, Any]) -> dict[str, str]:
    return tags.read(description.get("Tags"))


def _time(when: datetime | None) -> float | None:
    return None if when is None else when.timestamp()


def _time_in_words(when: str | None) -> float | None:
    """DescribeImages gives its date as text, others as a time."""
    try:
        return None if when is None else datetime.fromisoformat(when).timestamp()
    except ValueError:
        return None


_LISTS: dict[Kind, Callable[[AwsSession], Iterator[_Found]]] = {
    Kind.FLEET: _fleets,
    Kind.SPOT_REQUEST: _spot_requests,
    Kind.SCHEDULE: _schedules,
    Kind.KEY_PAIR: _key_pairs,
    Kind.SECURITY_GROUP: _groups,
    Kind.NETWORK_INTERFACE: _interfaces,
    Kind.VOLUME: _volumes,
    Kind.LAUNCH_TEMPLATE: _launch_templates,
    Kind.QUEUE: _queues,
    Kind.IMAGE: _images,
    Kind.SNAPSHOT: _snapshots,
}

_BY_ID = {
    Kind.KEY_PAIR: ("DescribeKeyPairs", "KeyPairs", "key-name"),
    Kind.SECURITY_GROUP: ("DescribeSecurityGroups", "SecurityGroups", "group-id"),
}
