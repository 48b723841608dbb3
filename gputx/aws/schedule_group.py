"""The group of the account's own lock. Schedules have no tags: what is in the group is ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gputx.aws import schedule, tags
from gputx.aws.part import Found, Part, Standing, unless_gone
from gputx.aws.session import AwsSession
from gputx.errors import GputxError


@dataclass(frozen=True)
class ScheduleGroup(Part):
    """One in each region that gputx works in."""

    kind: ClassVar[str] = "schedule group"
    name: str = schedule.GROUP

    def look(self, session: AwsSession) -> Found:
        group = unless_gone(lambda: session.call("scheduler", "GetScheduleGroup", Name=self.name))
        if group is None or group["State"] == "DELETING":
            return Found(Standing.ABSENT)
        said = session.call("scheduler", "ListTagsForResource", ResourceArn=group["Arn"])
        if tags.SETUP not in tags.read(said.get("Tags")):
            return Found(
                Standing.FOREIGN,
                f"a person made it (no tag {tags.SETUP})",
                ours=False,
                remedy=f"aws scheduler tag-resource --resource-arn {group['Arn']} --tags Key={tags.SETUP},Value=1",
            )
        return Found(Standing.WHOLE)

    def make(self, session: AwsSession, found: Found) -> None:
        create: dict[str, Any] = {"Name": self.name, "Tags": tags.listed(tags.MADE_BY_SETUP)}
        self._create(session, lambda: session.call("scheduler", "CreateScheduleGroup", **create), found)

    def unmake(self, session: AwsSession) -> None:
        """It takes its schedules with it, each of which may be the last lock on an instance: so there may be none."""
        if armed := schedule.describe(session):
            names = ", ".join(name for name, _ in armed)
            raise GputxError(
                f"schedules are armed in it that end instances: {names}", hint="gputx reap, then gputx teardown again"
            )
        unless_gone(lambda: session.call("scheduler", "DeleteScheduleGroup", Name=self.name))
