"""An account on paper, at the level of ``AwsSession.call``: what AWS would show, refuse and do, in memory.

It honours filters, tags, what holds what, and one id to a call; it notes every call that changes anything.
"""

# ruff: noqa: N802, N803 - the names are AWS's

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gputx.aws.errors import AwsError, meaning_of
from gputx.clock import Stop

REGION = "eu-north-1"
VPC, DEFAULT_GROUP = "vpc-1", "sg-default"
SHUTTING_DOWN_SECONDS = 10.0
_MOST_REFUSALS = 3
"""Of one call: whoever is random and has patience is let through in the end."""


class PaperClock:
    """Implements gputx.clock.Clock. Sleeping moves it."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, stop: Stop | None = None) -> None:
        if stop is not None:
            stop.check()
        self.now += seconds


def as_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def as_list(labels: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in labels.items()]


@dataclass
class Thing:
    """One resource. ``holders`` are ids of what must be gone before it can go."""

    id: str
    tags: dict[str, str]
    created: float
    state: str = ""
    groups: list[str] = field(default_factory=list)
    attached_to: str | None = None
    goes_along: bool = True
    """Of something attached: whether it goes with its instance."""
    made_of: list[str] = field(default_factory=list)
    """Of an image: its snapshots. Of a fleet: its instances."""
    ended_at: float | None = None


class PaperAccount:
    """Looks like an AwsSession to whoever only calls and pages."""

    emulated = True

    def __init__(self, clock: PaperClock, trouble: random.Random | None = None, trouble_rate: float = 0.0) -> None:
        self.region = REGION
        self.clock = clock
        self.changes: list[tuple[str, str]] = []
        """(operation, the one id it was about), in order, also of calls that were refused."""
        self.things: dict[str, dict[str, Thing]] = {kind: {} for kind in _KINDS}
        self.refuses: set[str] = set()
        """Operations that the caller may not use."""
        self._trouble = trouble
        self._trouble_rate = trouble_rate
        self._refused: dict[str, int] = {}

    def put(self, kind: str, thing: Thing) -> Thing:
        self.things[kind][thing.id] = thing
        return thing

    def picture(self) -> dict[tuple[str, str], Thing]:
        """Everything as it is now, to be compared with later."""
        self._pass_time()
        return {(kind, id_): copy.deepcopy(t) for kind, things in self.things.items() for id_, t in things.items()}

    def renew(self) -> None:
        raise AssertionError("no credentials have expired")

    def call(self, service: str, operation: str, *, single_attempt: bool = False, **parameters: Any) -> dict[str, Any]:
        """Answers what the inventory, the reaper and what they stand on ask for, and nothing else."""
        self._pass_time()
        if operation in self.refuses:
            raise self._refusal("UnauthorizedOperation")
        answer: Callable[..., dict[str, Any]] = getattr(self, f"_{operation}")
        changes = not operation.startswith(("Describe", "List", "Get"))
        if changes and self._trouble is not None and self._trouble.random() < self._trouble_rate:
            refused = f"{operation} {parameters}"
            self._refused[refused] = self._refused.get(refused, 0) + 1
            if self._refused[refused] <= _MOST_REFUSALS:
                raise self._refusal("RequestLimitExceeded")
        return answer(**parameters)

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> list[Any]:
        parameters.pop("PaginationConfig", None)
        items: list[Any] = self.call(service, operation, **parameters)[key]
        return items

    def _refusal(self, code: str) -> AwsError:
        return AwsError(code, code=code, meaning=meaning_of(code, 400))

    def _one(self, operation: str, ids: list[str]) -> str:
        assert len(ids) == 1, f"{operation} was given {len(ids)} ids"
        self.changes.append((operation, ids[0]))
        return ids[0]

    def _get(self, kind: str, id_: str, missing: str) -> Thing:
        if id_ not in self.things[kind]:
            raise self._refusal(missing)
        return self.things[kind][id_]

    def _pass_time(self) -> None:
        for instance in self.things["instance"].values():
            due = instance.ended_at is not None and self.clock.now >= instance.ended_at + SHUTTING_DOWN_SECONDS
            if instance.state == "shutting-down" and due:
                instance.state = "terminated"
                for kind in ("volume", "interface"):
                    for thing in [t for t in self.things[kind].values() if t.attached_to == instance.id]:
                        thing.attached_to, thing.state = None, "available"
                        if thing.goes_along:
                            del self.things[kind][thing.id]

    def _end(self, instance: Thing) -> None:
        if instance.state in {"shutting-down", "terminated"}:
            return
        instance.state, instance.ended_at = "shutting-down", self.clock.now
        for fleet in self.things["fleet"].values():
            if instance.id in fleet.made_of and fleet.state == "active":
                new = Thing(f"{instance.id}+", dict(instance.tags), self.clock.now, "running", list(instance.groups))
                self.put("instance", new)
                fleet.made_of.append(new.id)

    # What shows.

    def _select(self, kind: str, filters: list[dict[str, Any]] | None) -> list[Thing]:
        return [t for t in self.things[kind].values() if all(_matches(kind, t, f) for f in filters or [])]

    def _DescribeInstances(
        self, Filters: list[dict[str, Any]] | None = None, InstanceIds: list[str] | None = None
    ) -> dict[str, Any]:
        found = self._select("instance", Filters)
        if InstanceIds is not None:
            found = [self._get("instance", id_, "InvalidInstanceID.NotFound") for id_ in InstanceIds]
        return {"Reservations": [{"Instances": [_instance(t)]} for t in found]}

    def _DescribeFleets(self) -> dict[str, Any]:
        return {
            "Fleets": [
                {"FleetId": t.id, "FleetState": t.state, "Tags": as_list(t.tags), "CreateTime": as_time(t.created)}
                for t in self._select("fleet", None)
            ]
        }

    def _DescribeSpotInstanceRequests(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        found = self._select("request", Filters)
        return {"SpotInstanceRequests": [_item(t, "SpotInstanceRequestId", State=t.state) for t in found]}

    def _DescribeKeyPairs(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        return {"KeyPairs": [_item(t, "KeyName") for t in self._select("key", Filters)]}

    def _DescribeSecurityGroups(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        if {"Name": "group-name", "Values": ["default"]} in Filters:
            assert {"Name": "vpc-id", "Values": [VPC]} in Filters
            return {"SecurityGroups": [{"GroupId": DEFAULT_GROUP}]}
        return {"SecurityGroups": [{"GroupId": t.id, "Tags": as_list(t.tags)} for t in self._select("group", Filters)]}

    def _DescribeNetworkInterfaces(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        found = self._select("interface", Filters)
        return {
            "NetworkInterfaces": [
                {
                    "NetworkInterfaceId": t.id,
                    "TagSet": as_list(t.tags),
                    "Status": t.state,
                    **({"Attachment": {"DeleteOnTermination": t.goes_along}} if t.attached_to else {}),
                }
                for t in found
            ]
        }

    def _DescribeVolumes(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        found = self._select("volume", Filters)
        return {
            "Volumes": [
                _item(
                    t,
                    "VolumeId",
                    State=t.state,
                    Attachments=[{"DeleteOnTermination": t.goes_along}] if t.attached_to else [],
                )
                for t in found
            ]
        }

    def _DescribeLaunchTemplates(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        return {"LaunchTemplates": [_item(t, "LaunchTemplateId") for t in self._select("template", Filters)]}

    def _DescribeImages(self, Owners: list[str], Filters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        assert Owners == ["self"]
        return {
            "Images": [
                {
                    "ImageId": t.id,
                    "Tags": as_list(t.tags),
                    "State": t.state,
                    "CreationDate": as_time(t.created).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    "BlockDeviceMappings": [{"Ebs": {"SnapshotId": id_}} for id_ in t.made_of],
                }
                for t in self._select("image", Filters)
            ]
        }

    def _DescribeSnapshots(self, OwnerIds: list[str], Filters: list[dict[str, Any]]) -> dict[str, Any]:
        assert OwnerIds == ["self"]
        return {
            "Snapshots": [
                {"SnapshotId": t.id, "Tags": as_list(t.tags), "StartTime": as_time(t.created)}
                for t in self._select("snapshot", Filters)
            ]
        }

    def _ListQueues(self, QueueNamePrefix: str) -> dict[str, Any]:
        names = [url for url in self.things["queue"] if url.rpartition("/")[2].startswith(QueueNamePrefix)]
        return {"QueueUrls": names}

    def _ListQueueTags(self, QueueUrl: str) -> dict[str, Any]:
        return {"Tags": self._get("queue", QueueUrl, "AWS.SimpleQueueService.NonExistentQueue").tags}

    def _ListSchedules(self, GroupName: str) -> dict[str, Any]:
        return {"Schedules": [{"Name": t.id} for t in self.things["schedule"].values() if t.groups == [GroupName]]}

    def _GetSchedule(self, Name: str, GroupName: str) -> dict[str, Any]:
        said = self._get("schedule", Name, "ResourceNotFoundException").state
        return {"Name": Name, "Description": said}

    # What changes anything.

    def _TerminateInstances(self, InstanceIds: list[str]) -> dict[str, Any]:
        instance = self._get("instance", self._one("TerminateInstances", InstanceIds), "InvalidInstanceID.NotFound")
        self._end(instance)
        return {"TerminatingInstances": [{"InstanceId": instance.id, "CurrentState": {"Name": instance.state}}]}

    def _ModifyInstanceAttribute(self, InstanceId: str, Groups: list[str]) -> dict[str, Any]:
        instance = self._get("instance", self._one("ModifyInstanceAttribute", [InstanceId]), "IncorrectState")
        assert Groups == [DEFAULT_GROUP]
        instance.groups = list(Groups)
        return {}

    def _DeleteFleets(self, FleetIds: list[str], TerminateInstances: bool) -> dict[str, Any]:
        id_ = self._one("DeleteFleets", FleetIds)
        if id_ not in self.things["fleet"]:
            error = {"Code": "fleetIdDoesNotExist", "Message": id_}
            return {"UnsuccessfulFleetDeletions": [{"FleetId": id_, "Error": error}]}
        fleet = self.things["fleet"][id_]
        fleet.state = "deleted_terminating" if TerminateInstances else "deleted_running"
        for instance in fleet.made_of if TerminateInstances else []:
            self._end(self.things["instance"][instance])
        return {"SuccessfulFleetDeletions": [{"FleetId": id_, "CurrentFleetState": fleet.state}]}

    def _CancelSpotInstanceRequests(self, SpotInstanceRequestIds: list[str]) -> dict[str, Any]:
        id_ = self._one("CancelSpotInstanceRequests", SpotInstanceRequestIds)
        request = self._get("request", id_, "InvalidSpotInstanceRequestID.NotFound")
        request.state = "cancelled"
        return {"CancelledSpotInstanceRequests": [{"SpotInstanceRequestId": id_, "State": request.state}]}

    def _DeleteKeyPair(self, KeyName: str) -> dict[str, Any]:
        self.things["key"].pop(self._one("DeleteKeyPair", [KeyName]), None)
        return {}

    def _DeleteSchedule(self, Name: str, GroupName: str) -> dict[str, Any]:
        return self._delete("schedule", "DeleteSchedule", Name, "ResourceNotFoundException")

    def _DeleteSecurityGroup(self, GroupId: str) -> dict[str, Any]:
        users = [
            t
            for kind in ("instance", "interface")
            for t in self.things[kind].values()
            if GroupId in t.groups and t.state != "terminated"
        ]
        return self._delete(
            "group", "DeleteSecurityGroup", GroupId, "InvalidGroup.NotFound", users and "DependencyViolation"
        )

    def _DeleteNetworkInterface(self, NetworkInterfaceId: str) -> dict[str, Any]:
        return self._delete_attached("interface", "DeleteNetworkInterface", NetworkInterfaceId)

    def _DeleteVolume(self, VolumeId: str) -> dict[str, Any]:
        return self._delete_attached("volume", "DeleteVolume", VolumeId)

    def _delete_attached(self, kind: str, operation: str, id_: str) -> dict[str, Any]:
        missing, busy = {
            "interface": ("InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterface.InUse"),
            "volume": ("InvalidVolume.NotFound", "VolumeInUse"),
        }[kind]
        thing = self.things[kind].get(id_)
        return self._delete(kind, operation, id_, missing, busy if thing and thing.attached_to else "")

    def _DeleteLaunchTemplate(self, LaunchTemplateId: str) -> dict[str, Any]:
        return self._delete("template", "DeleteLaunchTemplate", LaunchTemplateId, "InvalidLaunchTemplateId.NotFound")

    def _DeleteQueue(self, QueueUrl: str) -> dict[str, Any]:
        return self._delete("queue", "DeleteQueue", QueueUrl, "AWS.SimpleQueueService.NonExistentQueue")

    def _DeregisterImage(self, ImageId: str) -> dict[str, Any]:
        return self._delete("image", "DeregisterImage", ImageId, "InvalidAMIID.Unavailable")

    def _DeleteSnapshot(self, SnapshotId: str) -> dict[str, Any]:
        used = any(SnapshotId in image.made_of for image in self.things["image"].values())
        return self._delete(
            "snapshot",
            "DeleteSnapshot",
            SnapshotId,
            "InvalidSnapshot.NotFound",
            "InvalidSnapshot.InUse" if used else "",
        )

    def _delete(self, kind: str, operation: str, id_: str, missing: str, busy: object = "") -> dict[str, Any]:
        self._one(operation, [id_])
        self._get(kind, id_, missing)
        if busy:
            raise self._refusal(str(busy))
        del self.things[kind][id_]
        return {}


_KINDS = (
    "instance",
    "fleet",
    "request",
    "schedule",
    "key",
    "group",
    "interface",
    "volume",
    "template",
    "queue",
    "image",
    "snapshot",
)


def _matches(kind: str, thing: Thing, asked: dict[str, Any]) -> bool:
    name, values = asked["Name"], asked["Values"]
    if name == "tag-key":
        return any(key in thing.tags for key in values)
    if name.startswith("tag:"):
        return thing.tags.get(name.removeprefix("tag:")) in values
    if name == {"image": "image-id", "key": "key-name", "group": "group-id"}.get(kind):
        return thing.id in values
    raise AssertionError(f"filter {name} of {kind} is not on paper")


def _item(thing: Thing, key: str, **more: Any) -> dict[str, Any]:
    return {key: thing.id, "Tags": as_list(thing.tags), "CreateTime": as_time(thing.created), **more}


def _instance(thing: Thing) -> dict[str, Any]:
    return {
        "InstanceId": thing.id,
        "State": {"Name": thing.state},
        "InstanceType": "g4dn.xlarge",
        "Placement": {"AvailabilityZone": f"{REGION}a"},
        "LaunchTime": as_time(thing.created),
        "VpcId": VPC,
        "Tags": as_list(thing.tags),
    }
