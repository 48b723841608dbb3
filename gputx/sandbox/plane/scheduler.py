"""EventBridge Scheduler's API, as far as it ends instances: one-time schedules of TerminateInstances, in groups."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from gputx.sandbox.plane import emulator, roles
from gputx.sandbox.plane.calls import Call
from gputx.sandbox.plane.schedules import DEFAULT_GROUP, Group, Schedule, Schedules, group_arn, read_expression
from gputx.sandbox.plane.wire import AwsError, NotEmulated, decode_page, encode_page
from gputx.sandbox.timers import Timers

TERMINATE = "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"
PRINCIPAL = "scheduler.amazonaws.com"
_NAME = re.compile(r"[0-9a-zA-Z\-_.]{1,64}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_DESCRIPTION_CHARACTERS = 512
_PAGE = 100
_KEPT = ("Description", "StartDate", "EndDate", "KmsKeyArn")
_RETRIES = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}


class Scheduler:
    """Answers calls to the service ``scheduler`` with the documents of its API. Called under the account's lock."""

    def __init__(self, timers: Timers, schedules: Schedules) -> None:
        self._timers = timers
        self._schedules = schedules
        # What a client token was used for: (region, action, token) → (request, answer).
        self._tokens: dict[tuple[str, str, str], tuple[str, dict[str, Any]]] = {}
        self._actions: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
            "CreateSchedule": self._create,
            "UpdateSchedule": self._update,
            "GetSchedule": self._get,
            "DeleteSchedule": self._delete,
            "ListSchedules": self._list,
            "CreateScheduleGroup": self._create_group,
            "GetScheduleGroup": self._get_group,
            "DeleteScheduleGroup": self._delete_group,
            "ListScheduleGroups": self._list_groups,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def answer(self, call: Call) -> dict[str, Any]:
        """The answer to a call.

        Raises:
            AwsError: with the code AWS would answer; NotEmulated.
        """
        action = self._actions.get(call.action)
        if action is None:
            raise NotEmulated("scheduler", call.action)
        params = dict(call.params)
        token = params.pop("ClientToken", None) or params.pop("clientToken", None)
        if not token:
            return action(call.region, params)
        key, request = (call.region, call.action, str(token)), json.dumps(params, sort_keys=True)
        if key in self._tokens:
            before, answer = self._tokens[key]
            if before != request:
                raise _conflict("The request was made before with the same client token and other parameters.")
            return answer
        answer = action(call.region, params)
        self._tokens[key] = request, answer
        return answer

    def _create(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        # The group first: whether a role trusts the scheduler depends on it.
        group = self._group(region, _checked_name(params.get("GroupName") or DEFAULT_GROUP, "groupName"))
        definition, due = _definition(region, params)
        if definition["Name"] in group.schedules:
            raise _conflict(f"Schedule {definition['Name']} already exists.")
        now = self._timers.now()
        schedule = Schedule(definition, created=now, modified=now)
        group.schedules[schedule.name] = schedule
        self._schedules.arm(group, schedule, due)
        return {"ScheduleArn": _arn(group, schedule)}

    def _update(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        """UpdateSchedule: what is not given goes back to its default."""
        definition, due = _definition(region, params)
        group, schedule = self._find(region, definition)
        schedule.definition, schedule.modified = definition, self._timers.now()
        self._schedules.arm(group, schedule, due)
        return {"ScheduleArn": _arn(group, schedule)}

    def _get(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        group, schedule = self._find(region, params)
        return {**schedule.definition, **_dated(group, schedule)}

    def _delete(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        group, schedule = self._find(region, params)
        self._schedules.disarm(schedule)
        del group.schedules[schedule.name]
        return {}

    def _list(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        named = params.get("ScheduleGroup")
        groups = [self._group(region, named)] if named else list(self._schedules.groups(region).values())
        found = [
            {
                **{key: schedule.definition[key] for key in ("Name", "GroupName", "State")},
                **_dated(group, schedule),
                "Target": {"Arn": schedule.definition["Target"]["Arn"]},
            }
            for group in groups
            for schedule in group.schedules.values()
            if schedule.name.startswith(params.get("NamePrefix") or "")
            and params.get("State") in (None, schedule.definition["State"])
        ]
        return _page("Schedules", found, params)

    def _create_group(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        name = _checked_name(params.get("Name"))
        if name in self._schedules.groups(region):
            raise _conflict(f"Schedule group {name} already exists.")
        return {"ScheduleGroupArn": self._schedules.add_group(region, name, _tags(params)).arn}

    def _get_group(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        return _group_document(self._group(region, params.get("Name")))

    def _delete_group(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteScheduleGroup: its schedules go with it."""
        group = self._group(region, params.get("Name"))
        if group.name == DEFAULT_GROUP:
            raise _invalid("The default schedule group can't be deleted.")
        for schedule in group.schedules.values():
            self._schedules.disarm(schedule)
        del self._schedules.groups(region)[group.name]
        return {}

    def _list_groups(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        groups = [
            _group_document(group)
            for group in self._schedules.groups(region).values()
            if group.name.startswith(params.get("NamePrefix") or "")
        ]
        return _page("ScheduleGroups", groups, params)

    def _tag(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        self._tagged(region, params).tags.update(_tags(params))
        return {}

    def _untag(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        tags = self._tagged(region, params).tags
        for key in params.get("TagKeys") or []:
            tags.pop(key, None)
        return {}

    def _list_tags(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        tags = self._tagged(region, params).tags
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _tagged(self, region: str, params: dict[str, Any]) -> Group:
        """The group of an ARN: schedules have no tags."""
        arn = str(params.get("ResourceArn"))
        head, _, name = arn.partition(":schedule-group/")
        if head != f"arn:aws:scheduler:{region}:{emulator.ACCOUNT_ID}" or not _NAME.fullmatch(name):
            raise _constraint(arn, "resourceArn", "Member must be the ARN of a schedule group")
        return self._group(region, name)

    def _group(self, region: str, name: str | None) -> Group:
        group = self._schedules.groups(region).get(name or DEFAULT_GROUP)
        if group is None:
            raise _not_found(f"Schedule group {name} does not exist.")
        return group

    def _find(self, region: str, params: dict[str, Any]) -> tuple[Group, Schedule]:
        group = self._group(region, params.get("GroupName") or params.get("groupName"))
        schedule = group.schedules.get(params.get("Name") or "")
        if schedule is None:
            raise _not_found(f"Schedule {params.get('Name')} does not exist.")
        return group, schedule


def _definition(region: str, params: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """A schedule as GetSchedule will show it, and when it is due (seconds since the epoch).

    Raises:
        AwsError: ValidationException, NotEmulated.
    """
    for name in ("ScheduleExpression", "Target", "FlexibleTimeWindow"):
        if not params.get(name):
            raise _constraint("null", name[0].lower() + name[1:], "Member must not be null")
    timezone = params.get("ScheduleExpressionTimezone") or "UTC"
    window = _window(params["FlexibleTimeWindow"])
    definition = {
        "Name": _checked_name(params.get("Name")),
        "GroupName": _checked_name(params.get("GroupName") or DEFAULT_GROUP, "groupName"),
        "ScheduleExpression": params["ScheduleExpression"],
        "ScheduleExpressionTimezone": timezone,
        "FlexibleTimeWindow": window,
        "State": _one_of(params, "State", ("ENABLED", "DISABLED")),
        "ActionAfterCompletion": _one_of(params, "ActionAfterCompletion", ("NONE", "DELETE")),
        "Target": _target(params["Target"], group_arn(region, params.get("GroupName") or DEFAULT_GROUP)),
        **{name: params[name] for name in _KEPT if name in params},
    }
    if len(definition.get("Description") or "") > _DESCRIPTION_CHARACTERS:
        limit = f"Member must have length less than or equal to {_DESCRIPTION_CHARACTERS}"
        raise _constraint(definition["Description"], "description", limit)
    # Within a window AWS fires whenever it likes: here at its end, which is the worst that a client has to bear.
    due = read_expression(params["ScheduleExpression"], timezone) + 60 * window.get("MaximumWindowInMinutes", 0)
    return definition, due


def _window(window: dict[str, Any]) -> dict[str, Any]:
    mode, minutes = window.get("Mode"), window.get("MaximumWindowInMinutes")
    if mode not in ("OFF", "FLEXIBLE"):
        raise _constraint(mode, "flexibleTimeWindow.mode", "Member must satisfy enum value set: [OFF, FLEXIBLE]")
    if mode == "OFF" and minutes is not None:
        raise _invalid("MaximumWindowInMinutes can only be given with a flexible time window.")
    if mode == "FLEXIBLE" and not (isinstance(minutes, int) and 1 <= minutes <= 24 * 60):
        raise _constraint(minutes, "flexibleTimeWindow.maximumWindowInMinutes", "Member must be from 1 to 1440")
    return window


def _target(target: dict[str, Any], group: str) -> dict[str, Any]:
    role = str(target.get("RoleArn") or "")
    if not _ROLE.fullmatch(role):
        raise _constraint(role, "target.roleArn", f"Member must satisfy regular expression pattern: {_ROLE.pattern}")
    if not roles.trusts(role, PRINCIPAL, group):
        raise _invalid("The execution role you provide must allow AWS EventBridge Scheduler to assume the role.")
    if target.get("Arn") != TERMINATE:
        raise NotEmulated("scheduler", "CreateSchedule", f"for the target {target.get('Arn')}")
    try:
        ids = json.loads(target.get("Input") or "{}")["InstanceIds"]
    except (ValueError, KeyError, TypeError) as error:
        raise _invalid("The Input of the target must be a JSON object with InstanceIds.") from error
    if not (isinstance(ids, list) and ids and all(isinstance(instance_id, str) for instance_id in ids)):
        raise _invalid("InstanceIds in the Input of the target must be a list of ids.")
    return {"RetryPolicy": dict(_RETRIES), **target}


def _checked_name(name: str | None, field: str = "name") -> str:
    if not _NAME.fullmatch(name or ""):
        raise _constraint(name, field, "Member must satisfy regular expression pattern: [0-9a-zA-Z-_.]+")
    return str(name)


def _one_of(params: dict[str, Any], name: str, values: tuple[str, str]) -> str:
    value = params.get(name) or values[0]
    if value not in values:
        field = name[0].lower() + name[1:]
        raise _constraint(value, field, f"Member must satisfy enum value set: [{', '.join(values)}]")
    return str(value)


def _tags(params: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in params.get("Tags") or []}


def _arn(group: Group, schedule: Schedule) -> str:
    return f"arn:aws:scheduler:{group.region}:{emulator.ACCOUNT_ID}:schedule/{group.name}/{schedule.name}"


def _dated(group: Group, schedule: Schedule) -> dict[str, Any]:
    dates = {"CreationDate": schedule.created, "LastModificationDate": schedule.modified}
    return {"Arn": _arn(group, schedule), **dates}


def _group_document(group: Group) -> dict[str, Any]:
    dates = {"CreationDate": group.created, "LastModificationDate": group.created}
    return {"Arn": group.arn, "Name": group.name, "State": "ACTIVE", **dates}


def _page(name: str, found: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    start = decode_page(params.get("NextToken"))
    end = start + int(params.get("MaxResults") or _PAGE)
    following = {"NextToken": encode_page(end)} if end < len(found) else {}
    return {name: found[start:end], **following}


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def _constraint(value: object, field: str, rule: str) -> AwsError:
    return _invalid(f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: {rule}")


def _not_found(message: str) -> AwsError:
    return AwsError("ResourceNotFoundException", message, 404)


def _conflict(message: str) -> AwsError:
    return AwsError("ConflictException", message, 409)
