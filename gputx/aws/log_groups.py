"""The log groups that instances write to, with an end to what they keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gputx.aws import tags
from gputx.aws.part import Found, Part, Standing, unless_gone
from gputx.aws.patience import patiently
from gputx.aws.session import AwsSession

NAMES = tuple(f"/aws/ec2/transcription/{name}" for name in ("api", "batch", "system"))
RETENTION_DAYS = 30
_RETENTION = "retention"


@dataclass(frozen=True)
class LogGroup(Part):
    """One group. A retention that a person has set, longer or shorter, stays."""

    kind: ClassVar[str] = "log group"

    @property
    def cost(self) -> str:
        # CloudWatch Logs, standard class, outside the free 5 GB: https://aws.amazon.com/cloudwatch/pricing/
        return "about $0.54 per GB written; empty: nothing"

    def look(self, session: AwsSession) -> Found:
        group = self._find(session)
        if group is None:
            return Found(Standing.ABSENT)
        arn = str(group["arn"]).removesuffix(":*")
        said = session.call("logs", "ListTagsForResource", resourceArn=arn).get("tags") or {}
        if tags.SETUP not in said:
            return Found(
                Standing.FOREIGN,
                f"a person or a program made it (no tag {tags.SETUP})",
                ours=False,
                remedy=f"aws logs tag-resource --resource-arn {arn} --tags {tags.SETUP}=1",
            )
        if "retentionInDays" not in group:
            return Found(Standing.PARTLY, lacking=(_RETENTION,))
        return Found(Standing.WHOLE, f"kept for {group['retentionInDays']} days")

    def make(self, session: AwsSession, found: Found) -> None:
        create: dict[str, Any] = {"logGroupName": self.name, "tags": tags.MADE_BY_SETUP}
        stands = self._create(session, lambda: session.call("logs", "CreateLogGroup", **create), found)
        if stands.lacking:
            keep: dict[str, Any] = {"logGroupName": self.name, "retentionInDays": RETENTION_DAYS}
            patiently(session.clock, lambda: session.call("logs", "PutRetentionPolicy", **keep))

    def unmake(self, session: AwsSession) -> None:
        unless_gone(lambda: session.call("logs", "DeleteLogGroup", logGroupName=self.name))

    def _find(self, session: AwsSession) -> dict[str, Any] | None:
        there = session.pages("logs", "DescribeLogGroups", "logGroups", logGroupNamePrefix=self.name)
        return next((group for group in there if group["logGroupName"] == self.name), None)
