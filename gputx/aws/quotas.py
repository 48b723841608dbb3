"""The GPU quotas: spot and on-demand are counted separately, in vCPUs, and are 0 in many new accounts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gputx.aws.errors import AwsError, Meaning
from gputx.aws.session import AwsSession
from gputx.errors import CapacityError
from gputx.models import Market

QUOTA_CODES = {Market.SPOT: "L-3819A6DF", Market.ON_DEMAND: "L-DB2E81BA"}
"""Service Quotas' codes for "All G and VT Spot Instance Requests" and "Running On-Demand G and VT instances"."""


def limit(session: AwsSession, market: Market) -> float | None:
    """vCPUs allowed for G and VT instances, or None where the quota can't be read."""
    try:
        return allowed(session, market)
    except AwsError:
        return None


def allowed(session: AwsSession, market: Market) -> float:
    """vCPUs allowed for G and VT instances. Raises AwsError."""
    named: dict[str, Any] = {"ServiceCode": "ec2", "QuotaCode": QUOTA_CODES[market]}
    try:
        answer = session.call("service-quotas", "GetServiceQuota", **named)
    except AwsError as error:
        if error.meaning is not Meaning.GONE:
            raise
        # What was never changed in an account may be known by its default alone.
        answer = session.call("service-quotas", "GetAWSDefaultServiceQuota", **named)
    return float(answer["Quota"]["Value"])


def request_link(region: str, market: Market) -> str:
    """Where a person asks for more, in a browser."""
    return f"https://{region}.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/{QUOTA_CODES[market]}"


def counts(instance_type: str) -> bool:
    """Whether a type counts against these quotas: "All G and VT" are the families of those letters, Gr included."""
    family = instance_type.partition(".")[0]
    return family.startswith(("g", "vt"))


def used(session: AwsSession) -> dict[Market, int]:
    """vCPUs of all G and VT instances in the region that count now, whoever's they are. Raises AwsError."""
    running = session.pages(
        "ec2",
        "DescribeInstances",
        "Reservations",
        Filters=[
            {"Name": "instance-type", "Values": ["g*", "vt*"]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ],
    )
    found = [item for reservation in running for item in reservation["Instances"]]
    size = vcpus(session, {item["InstanceType"] for item in found})
    total = dict.fromkeys(Market, 0)
    for item in found:
        market = Market.SPOT if item.get("InstanceLifecycle") == "spot" else Market.ON_DEMAND
        total[market] += size[item["InstanceType"]]
    return total


def vcpus(session: AwsSession, types: Iterable[str]) -> dict[str, int]:
    """The vCPUs by which each type counts, whatever options an instance has. Raises AwsError where one is no type."""
    names = sorted(set(types))
    if not names:
        return {}
    told = session.call("ec2", "DescribeInstanceTypes", InstanceTypes=names)["InstanceTypes"]
    return {item["InstanceType"]: int(item["VCpuInfo"]["DefaultVCpus"]) for item in told}


def refused(session: AwsSession, market: Market, instance_type: str) -> CapacityError:
    """The error for a launch that a quota forbade: the limit, what is needed, and where to ask for more."""
    code = QUOTA_CODES[market]
    most = limit(session, market)
    how_many = "too few" if most is None else f"{most:.0f}"
    link = request_link(session.region, market)
    return CapacityError(
        f"AWS allows this account {how_many} {market} GPU vCPUs in {session.region}; "
        f"{instance_type} needs {_vcpus(session, instance_type)}, besides what is running",
        details=(f"quota {code}: {link}",),
        hint="ask for an increase there, end what else uses it (`gputx ps`), or choose the other --market",
    )


def _vcpus(session: AwsSession, instance_type: str) -> str:
    try:
        return str(vcpus(session, [instance_type])[instance_type])
    except (AwsError, LookupError):
        return "more"
