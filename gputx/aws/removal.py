"""Ending one thing, one id to a call: a call with two ids of which one is wrong ends neither.

For what costs nothing by itself, "it does not exist" is as good as deleted. For an instance it proves nothing: one
that was launched a moment ago may not be visible yet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from gputx.aws import instances, network, schedule, tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.session import AwsSession
from gputx.errors import GputxError
from gputx.models import Kind, Leftover

_CANCELLED = frozenset({"cancelled", "closed", "completed"})


def remove(session: AwsSession, leftover: Leftover) -> bool:
    """End or delete it; True once it is gone or was seen ending, False where something still holds it.

    Raises:
        GputxError: AWS refuses or does not answer, or an instance has lost its tag since it was found.
    """
    return _REMOVERS[leftover.kind](session, leftover)


def command(leftover: Leftover) -> str:
    """What a person can paste to do the same by hand."""
    return f"aws {_COMMANDS[leftover.kind].format(id=leftover.id, group=schedule.GROUP)} --region {leftover.region}"


def _instance(session: AwsSession, leftover: Leftover) -> bool:
    seen = instances.describe(session, leftover.id)
    if seen is not None:
        if not seen.live:
            return True
        if seen.tags.get(tags.RUN) != leftover.run_id:
            raise GputxError(f"{leftover.id} has lost the tag of run {leftover.run_id} meanwhile, so it was left alone")
        if seen.vpc_id:
            # Out of the run's group first: it would hold it until it is terminated. One that can't be moved may end.
            with contextlib.suppress(AwsError):
                network.move_to_default_group(session, instance_id=seen.id, vpc_id=seen.vpc_id)
    return instances.terminate(session, leftover.id)


def _fleet(session: AwsSession, leftover: Leftover) -> bool:
    """With its instances: EC2 deletes no instant fleet without them, and any other would be left with orphans."""
    answer = session.call("ec2", "DeleteFleets", FleetIds=[leftover.id], TerminateInstances=True)
    for refusal in answer.get("UnsuccessfulFleetDeletions", []):
        error = refusal.get("Error", {})
        raise GputxError(f"{leftover.id} was not deleted: {error.get('Code')}: {error.get('Message')}")
    return any(item["FleetId"] == leftover.id for item in answer.get("SuccessfulFleetDeletions", []))


def _spot_request(session: AwsSession, leftover: Leftover) -> bool:
    try:
        answer = session.call("ec2", "CancelSpotInstanceRequests", SpotInstanceRequestIds=[leftover.id])
    except AwsError as error:
        if error.meaning is Meaning.GONE:
            return True
        raise
    return any(item["State"] in _CANCELLED for item in answer["CancelledSpotInstanceRequests"])


def _schedule(session: AwsSession, leftover: Leftover) -> bool:
    schedule.delete(session, leftover.id)
    return True


def _key_pair(session: AwsSession, leftover: Leftover) -> bool:
    network.delete_key(session, leftover.id)
    return True


def _group(session: AwsSession, leftover: Leftover) -> bool:
    return network.delete_group(session, leftover.id)


def _image(session: AwsSession, leftover: Leftover) -> bool:
    """To a launch an image that does not exist is a mistake that asking again will not mend; here it is the aim."""
    try:
        session.call("ec2", "DeregisterImage", ImageId=leftover.id)
    except AwsError:
        mine = [{"Name": "image-id", "Values": [leftover.id]}]
        if session.pages("ec2", "DescribeImages", "Images", Owners=["self"], Filters=mine):
            raise
    return True


def _deletion(service: str, operation: str, parameter: str) -> Callable[[AwsSession, Leftover], bool]:
    """For the kinds that one call with one id deletes."""

    def delete(session: AwsSession, leftover: Leftover) -> bool:
        wanted: dict[str, Any] = {parameter: leftover.id}
        try:
            session.call(service, operation, **wanted)
        except AwsError as error:
            if error.meaning is Meaning.IN_USE:
                return False
            if error.meaning is not Meaning.GONE:
                raise
        return True

    return delete


_REMOVERS: dict[Kind, Callable[[AwsSession, Leftover], bool]] = {
    Kind.INSTANCE: _instance,
    Kind.FLEET: _fleet,
    Kind.SPOT_REQUEST: _spot_request,
    Kind.SCHEDULE: _schedule,
    Kind.KEY_PAIR: _key_pair,
    Kind.SECURITY_GROUP: _group,
    Kind.NETWORK_INTERFACE: _deletion("ec2", "DeleteNetworkInterface", "NetworkInterfaceId"),
    Kind.VOLUME: _deletion("ec2", "DeleteVolume", "VolumeId"),
    Kind.LAUNCH_TEMPLATE: _deletion("ec2", "DeleteLaunchTemplate", "LaunchTemplateId"),
    Kind.QUEUE: _deletion("sqs", "DeleteQueue", "QueueUrl"),
    Kind.IMAGE: _image,
    Kind.SNAPSHOT: _deletion("ec2", "DeleteSnapshot", "SnapshotId"),
}

_COMMANDS = {
    Kind.INSTANCE: "ec2 terminate-instances --instance-ids {id}",
    Kind.FLEET: "ec2 delete-fleets --terminate-instances --fleet-ids {id}",
    Kind.SPOT_REQUEST: "ec2 cancel-spot-instance-requests --spot-instance-request-ids {id}",
    Kind.SCHEDULE: "scheduler delete-schedule --group-name {group} --name {id}",
    Kind.KEY_PAIR: "ec2 delete-key-pair --key-name {id}",
    Kind.SECURITY_GROUP: "ec2 delete-security-group --group-id {id}",
    Kind.NETWORK_INTERFACE: "ec2 delete-network-interface --network-interface-id {id}",
    Kind.VOLUME: "ec2 delete-volume --volume-id {id}",
    Kind.LAUNCH_TEMPLATE: "ec2 delete-launch-template --launch-template-id {id}",
    Kind.QUEUE: "sqs delete-queue --queue-url {id}",
    Kind.IMAGE: "ec2 deregister-image --image-id {id}",
    Kind.SNAPSHOT: "ec2 delete-snapshot --snapshot-id {id}",
}
