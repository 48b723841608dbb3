"""The GPU quotas: spot and on-demand are counted separately, in vCPUs, and are 0 in many new accounts."""

from __future__ import annotations

from gputx.aws.errors import AwsError
from gputx.aws.session import AwsSession
from gputx.errors import CapacityError
from gputx.models import Market

QUOTA_CODES = {Market.SPOT: "L-3819A6DF", Market.ON_DEMAND: "L-DB2E81BA"}
"""Service Quotas' codes for "All G and VT Spot Instance Requests" and "Running On-Demand G and VT instances"."""


def limit(session: AwsSession, market: Market) -> float | None:
    """vCPUs allowed for G and VT instances, or None where the quota can't be read."""
    try:
        answer = session.call("service-quotas", "GetServiceQuota", ServiceCode="ec2", QuotaCode=QUOTA_CODES[market])
    except AwsError:
        return None
    return float(answer["Quota"]["Value"])


def refused(session: AwsSession, market: Market, instance_type: str) -> CapacityError:
    """The error for a launch that a quota forbade: the limit, what is needed, and where to ask for more."""
    code = QUOTA_CODES[market]
    allowed = limit(session, market)
    how_many = "too few" if allowed is None else f"{allowed:.0f}"
    link = f"https://{session.region}.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/{code}"
    return CapacityError(
        f"AWS allows this account {how_many} {market} GPU vCPUs in {session.region}; "
        f"{instance_type} needs {_vcpus(session, instance_type)}, besides what is running",
        details=(f"quota {code}: {link}",),
        hint="ask for an increase there, end what else uses it (`gputx ps`), or choose the other --market",
    )


def _vcpus(session: AwsSession, instance_type: str) -> str:
    try:
        answer = session.call("ec2", "DescribeInstanceTypes", InstanceTypes=[instance_type])
        return str(answer["InstanceTypes"][0]["VCpuInfo"]["DefaultVCpus"])
    except (AwsError, LookupError):
        return "more"
