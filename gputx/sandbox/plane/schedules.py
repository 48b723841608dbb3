"""EventBridge Scheduler's schedules and groups, and what they do when they fall due."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gputx.sandbox.plane import emulator, roles
from gputx.sandbox.plane.instances import InstanceActions
from gputx.sandbox.plane.wire import AwsError, NotEmulated
from gputx.sandbox.timers import Timer, Timers

log = logging.getLogger(__name__)

DEFAULT_GROUP = "default"
_AT = re.compile(r"at\((\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})\)")
_RECURRING = re.compile(r"rate\(([1-9]\d* (minutes|hours|days)|1 (minute|hour|day))\)|cron\(\S+( \S+){5}\)")


def read_expression(expression: str, timezone: str) -> float:
    """When a one-time expression is due, in seconds since the epoch.

    Raises:
        AwsError: ValidationException; NotEmulated for one that recurs.
    """
    zone = _zone(timezone)
    if _RECURRING.fullmatch(expression):
        raise NotEmulated("scheduler", "CreateSchedule", f"with {expression}: only at() fires here")
    found = _AT.fullmatch(expression)
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=zone).timestamp() if found else _invalid(expression)
    except ValueError:
        return _invalid(expression)


def _invalid(expression: str) -> float:
    raise AwsError("ValidationException", f"Invalid Schedule Expression {expression}.")


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # without asking this machine for its time zones, which it may not have
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise AwsError("ValidationException", f"Invalid Schedule Expression Timezone {name}.") from error


def group_arn(region: str, name: str) -> str:
    return f"arn:aws:scheduler:{region}:{emulator.ACCOUNT_ID}:schedule-group/{name}"


@dataclass
class Schedule:
    """One schedule.

    Attributes:
        definition: its parameters as GetSchedule shows them.
        due: when it fires, in seconds since the epoch; None once it has, or while it is disabled.
    """

    definition: dict[str, Any]
    created: float
    modified: float
    due: float | None = None
    timer: Timer | None = None

    @property
    def name(self) -> str:
        return str(self.definition["Name"])

    @property
    def instances(self) -> list[str]:
        """Ids of the instances it is to terminate."""
        ids: list[str] = json.loads(self.definition["Target"]["Input"]).get("InstanceIds", [])
        return ids


@dataclass
class Group:
    """A schedule group: all that can be tagged in this service."""

    name: str
    region: str
    created: float
    tags: dict[str, str] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        return group_arn(self.region, self.name)


class Schedules:
    """All schedules of the account, by region and group. Called under the account's lock."""

    def __init__(self, timers: Timers, instances: InstanceActions) -> None:
        self._timers = timers
        self._instances = instances
        self._groups: dict[str, dict[str, Group]] = {}

    def groups(self, region: str) -> dict[str, Group]:
        """The groups of a region by name; each region has one called ``default``."""
        default = Group(DEFAULT_GROUP, region, self._timers.now())
        return self._groups.setdefault(region, {DEFAULT_GROUP: default})

    def add_group(self, region: str, name: str, tags: dict[str, str]) -> Group:
        """A new group, in the place of one of that name, if there is any."""
        group = Group(name, region, self._timers.now(), tags)
        self.groups(region)[name] = group
        return group

    def made_groups(self) -> list[Group]:
        """The groups that somebody made, of all regions."""
        return [g for in_region in self._groups.values() for g in in_region.values() if g.name != DEFAULT_GROUP]

    def all(self) -> list[tuple[Group, Schedule]]:
        groups = [group for in_region in self._groups.values() for group in in_region.values()]
        return [(group, schedule) for group in groups for schedule in group.schedules.values()]

    def arm(self, group: Group, schedule: Schedule, due: float) -> None:
        """Let a schedule fire at ``due``, and at no other time it was told before.

        A time that is past is as good as now: AWS takes such a schedule, and fires it within the minute.
        """
        self.disarm(schedule)
        if schedule.definition["State"] == "ENABLED":
            schedule.due = due
            when = max(due, self._timers.now())
            schedule.timer = self._timers.at(when, lambda _: self._fire(group, schedule))

    def disarm(self, schedule: Schedule) -> None:
        if schedule.timer:
            schedule.timer.cancel()
        schedule.timer = schedule.due = None

    def _fire(self, group: Group, schedule: Schedule) -> None:
        schedule.timer = schedule.due = None
        try:
            changes = self._terminate(schedule.definition["Target"]["RoleArn"], schedule.instances, group.region)
            log.info("schedule %s/%s terminated %s", group.name, schedule.name, changes)
        except AwsError as error:
            # As on AWS, nobody is told: the schedule has had its turn.
            log.info("schedule %s/%s: %s", group.name, schedule.name, error)
        if schedule.definition["ActionAfterCompletion"] == "DELETE":
            del group.schedules[schedule.name]

    def _terminate(self, role: str, ids: list[str], region: str) -> list[dict[str, Any]]:
        backend = emulator.ec2(region)
        for instance_id in ids:
            arn = f"arn:aws:ec2:{region}:{emulator.ACCOUNT_ID}:instance/{instance_id}"
            if not roles.allows(role, "ec2:TerminateInstances", arn, dict(backend.tags.get(instance_id, {}))):
                raise AwsError("UnauthorizedOperation", f"{role} may not terminate {instance_id}")
        return self._instances.terminate({"InstanceIds": ids}, backend)
