"""The regions of an account."""

from __future__ import annotations

from gputx.aws.session import AwsSession


def enabled(session: AwsSession) -> list[str]:
    """Names of the regions that the account may use, sorted. Raises AwsError."""
    return sorted(region["RegionName"] for region in session.call("ec2", "DescribeRegions")["Regions"])
