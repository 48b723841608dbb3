"""Seeing instances, and ending them in a way that is seen and not believed."""

from __future__ import annotations

from typing import Any

from gputx.aws import tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import CapacityError, InstanceLostError
from gputx.models import Instance, Market

_ENDED = frozenset({"shutting-down", "terminated"})


def from_description(description: dict[str, Any]) -> Instance:
    """DescribeInstances' shape to ours."""
    return Instance(
        id=description["InstanceId"],
        state=description["State"]["Name"],
        instance_type=description["InstanceType"],
        zone=description["Placement"]["AvailabilityZone"],
        market=Market.SPOT if description.get("InstanceLifecycle") == "spot" else Market.ON_DEMAND,
        launched_at=description["LaunchTime"].timestamp(),
        public_address=description.get("PublicIpAddress"),
        vpc_id=description.get("VpcId"),
        token=description.get("ClientToken") or None,
        profile=description.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2] or None,
        tags=tags.read(description.get("Tags")),
        reason=description.get("StateReason", {}).get("Code", ""),
    )


def find(session: AwsSession, *, run_id: str | None = None, token: str | None = None) -> list[Instance]:
    """Instances with our tag, in any state; of one run or one launch token where given.

    Right after a launch the answer may miss it: EC2 is eventually consistent. Raises AwsError.
    """
    filters = [{"Name": f"tag:{tags.RUN}", "Values": [run_id]} if run_id else {"Name": "tag-key", "Values": [tags.RUN]}]
    if token:
        filters.append({"Name": "client-token", "Values": [token]})
    reservations = session.pages("ec2", "DescribeInstances", "Reservations", Filters=filters)
    return [from_description(item) for reservation in reservations for item in reservation["Instances"]]


def describe(session: AwsSession, instance_id: str) -> Instance | None:
    """One instance as the account sees it now; None where it is not visible (which proves nothing)."""
    try:
        reservations = session.call("ec2", "DescribeInstances", InstanceIds=[instance_id])["Reservations"]
    except AwsError as error:
        if error.meaning is Meaning.GONE:
            return None
        raise
    return next((from_description(item) for reservation in reservations for item in reservation["Instances"]), None)


def wait_for_address(
    session: AwsSession, instance_id: str, *, timeout: float, stop: Stop, poll: float = 0.5
) -> Instance:
    """Wait until the instance runs and has a public address.

    Raises:
        InstanceLostError: it ended before it ran.
        CapacityError: it did not run within ``timeout`` seconds.
    """
    deadline = session.clock.time() + timeout
    while True:
        instance = describe(session, instance_id)
        if instance and not instance.live:
            raise InstanceLostError(f"{instance_id} was ended by AWS before it was up ({instance.state})")
        if instance and instance.state == "running" and instance.public_address:
            return instance
        if session.clock.time() >= deadline:
            seen = instance.state if instance else "not visible"
            raise CapacityError(
                f"{instance_id} was still {seen} after {timeout:.0f} s", hint="try again, or another --zone"
            )
        session.clock.sleep(poll, stop)


def terminate(session: AwsSession, instance_id: str) -> bool:
    """Ask for the end, and look whether it began. True once ``shutting-down`` or ``terminated`` was seen.

    What is seen is what Describe shows; only where Describe does not show the instance at all, right after its
    launch, is it the state that EC2 answered the request with. NotFound as an answer to the request proves nothing
    (the instance may only be invisible still), so it is False. Raises AwsError.
    """
    try:
        answer = session.call("ec2", "TerminateInstances", InstanceIds=[instance_id])
    except AwsError as error:
        if error.meaning is not Meaning.GONE:
            raise
        return False
    seen = describe(session, instance_id)
    if seen is not None:
        return seen.state in _ENDED
    changes = answer.get("TerminatingInstances", [])
    return any(c["InstanceId"] == instance_id and c["CurrentState"]["Name"] in _ENDED for c in changes)


def label(session: AwsSession, instance_id: str, labels: dict[str, str]) -> None:
    """Write tags on an instance, over those of the same names. Raises AwsError."""
    session.call("ec2", "CreateTags", Resources=[instance_id], Tags=tags.listed(labels))


def tell_alive(session: AwsSession, instance_id: str) -> None:
    """Write into the account that the instance's client lives now. Raises AwsError."""
    label(session, instance_id, {tags.HEARTBEAT: tags.stamp_of(session.clock.time())})
