"""The regions of an account."""

from __future__ import annotations

from gputx.aws.session import AwsSession

_OLDEST = {"cn-": "cn-north-1", "us-gov-": "us-gov-west-1"}
"""Regions that no account can disable, by the beginning of their partition's names; of all others it is us-east-1.
Source: AWS Account Management, "Enable or disable AWS Regions in your account"."""


def enabled(session: AwsSession) -> list[str]:
    """Names of the regions that the account may use, sorted. Raises AwsError."""
    return sorted(region["RegionName"] for region in session.call("ec2", "DescribeRegions")["Regions"])


def status(session: AwsSession) -> str:
    """Whether the account may use the session's region: ``opt-in-not-required``, ``opted-in`` or ``not-opted-in``.

    Asked in a region that every account has, because one that is not enabled refuses all credentials.

    Raises:
        AwsError: AWS refuses or does not answer.
    """
    answer = always_there(session).call("ec2", "DescribeRegions", RegionNames=[session.region], AllRegions=True)
    return str(answer["Regions"][0]["OptInStatus"])


def always_there(session: AwsSession) -> AwsSession:
    """The same account in a region that can't be disabled."""
    partition = next((prefix for prefix in _OLDEST if session.region.startswith(prefix)), "")
    return session.elsewhere(_OLDEST.get(partition, "us-east-1"))
