"""The account's own lock: a one-time EventBridge schedule that ends one instance when its client falls silent.

It needs a role that the account's owner has made (``gputx setup``), and the instance's id, so it can't cover the
moment between a launch and its answer; the other locks do. A living client moves it on; it deletes itself once it
has fired. EventBridge Scheduler fires within a minute of the time given, and can't tag a schedule: what a tag would
say is in its description, and only the schedules of our group are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gputx.aws import tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.session import AwsSession

ROLE = "gputx-scheduler"
GROUP = "gputx"
_DESCRIPTION_LIMIT = 512
_TERMINATE = "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"


def name_of(run_id: str) -> str:
    """The name of a run's schedule."""
    return f"gputx-{run_id}"


def find_role(session: AwsSession) -> str | None:
    """The ARN of the role that schedules act as; None where the account has none, or the caller may not look."""
    try:
        arn: str = session.call("iam", "GetRole", RoleName=ROLE)["Role"]["Arn"]
    except AwsError as error:
        if error.meaning in {Meaning.GONE, Meaning.DENIED}:
            return None
        raise
    return arn


def request(*, stamp: tags.Stamp, instance_id: str, role_arn: str, at: float) -> dict[str, Any]:
    """The parameters of CreateSchedule and, but for its tokens, of UpdateSchedule, which replaces all of them.

    Args:
        at: seconds since the epoch when the instance is to be ended.
    """
    return {
        "Name": name_of(stamp.run_id),
        "GroupName": GROUP,
        "Description": _description(stamp),
        "ScheduleExpression": f"at({datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": _TERMINATE,
            "RoleArn": role_arn,
            "Input": json.dumps({"InstanceIds": [instance_id]}),
        },
    }


def _description(stamp: tags.Stamp) -> str:
    """The tags that matter, in the 512 characters there are; a long name of an owner gives way."""
    said = stamp.as_tags().items()
    labels = {key: value for key, value in said if key.startswith("gputx:") or key == tags.PURPOSE}
    whole = json.dumps(labels)
    if len(whole) > _DESCRIPTION_LIMIT:
        whole = json.dumps({key: value for key, value in labels.items() if key != tags.OWNER})
    return whole


def create(session: AwsSession, parameters: Mapping[str, Any]) -> None:
    """Arm it. One that is there already, from an answer that was lost, is moved. Raises AwsError."""
    try:
        session.call("scheduler", "CreateSchedule", **parameters)
    except AwsError as error:
        if error.meaning is not Meaning.EXISTS:
            raise
        move(session, parameters)


def move(session: AwsSession, parameters: Mapping[str, Any]) -> None:
    """Arm it for another time. Raises AwsError, GONE where it has fired."""
    session.call("scheduler", "UpdateSchedule", **parameters)


def delete(session: AwsSession, name: str) -> None:
    """Disarm it; none there is no error. Raises AwsError."""
    try:
        session.call("scheduler", "DeleteSchedule", Name=name, GroupName=GROUP)
    except AwsError as error:
        if error.meaning is not Meaning.GONE:
            raise


def describe(session: AwsSession) -> list[tuple[str, dict[str, str]]]:
    """Name and tags (from the description) of every schedule in our group. Raises AwsError."""
    try:
        there = session.pages("scheduler", "ListSchedules", "Schedules", GroupName=GROUP)
    except AwsError as error:
        if error.meaning is Meaning.GONE:
            return []
        raise
    found = []
    for item in there:
        try:
            said = session.call("scheduler", "GetSchedule", Name=item["Name"], GroupName=GROUP).get("Description", "")
        except AwsError as error:
            if error.meaning is Meaning.GONE:
                continue
            raise
        found.append((str(item["Name"]), _labels(said)))
    return found


def _labels(description: str) -> dict[str, str]:
    try:
        labels = json.loads(description)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in labels.items()} if isinstance(labels, dict) else {}
