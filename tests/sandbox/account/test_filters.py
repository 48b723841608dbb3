"""What Describe calls are asked for: filters with EC2's wildcards, filters that are none, pages."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .lab import LAG, PENDING, Lab, error_of


@pytest.fixture
def spot(lab: Lab) -> str:
    """One running spot instance, tagged, with a client token."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "run.id", "Value": "a[1]"}]}]
    instance_id = lab.launch(
        TagSpecifications=tags, ClientToken=f"token-{uuid.uuid4()}", MetadataOptions={"HttpTokens": "required"}
    )
    lab.account.advance(max(LAG, PENDING))
    return instance_id


def _found(lab: Lab, name: str, *values: str) -> set[str]:
    live = {"Name": "instance-state-name", "Values": ["pending", "run*"]}
    answer = lab.ec2.describe_instances(Filters=[live, {"Name": name, "Values": list(values)}])["Reservations"]
    return {instance["InstanceId"] for reservation in answer for instance in reservation["Instances"]}


def test_filters_of_instances_and_their_wildcards(lab: Lab, spot: str) -> None:
    on_demand = lab.launch_running(InstanceMarketOptions=None, Placement={"AvailabilityZone": "eu-north-1b"})
    both = {spot, on_demand}
    instance = lab.ec2.describe_instances(InstanceIds=[spot])["Reservations"][0]
    launched = instance["Instances"][0]["LaunchTime"]
    expected: list[tuple[str, list[str], set[str]]] = [
        ("instance-type", ["g4dn.?large"], both),
        ("instance-type", ["G4DN.*"], set()),
        ("availability-zone", ["eu-*a"], {spot}),
        ("availability-zone", ["eu-north-1b", "eu-west-*"], {on_demand}),
        ("client-token", ["token-*"], {spot}),
        ("tag-key", ["run*"], {spot}),
        ("tag-key", ["runxid"], set()),
        ("tag:run.id", ["a[1]"], {spot}),
        ("tag:run.id", ["?[*"], {spot}),
        ("tag:run.id", ["a1", "\\*"], set()),
        ("instance-lifecycle", ["spot"], {spot}),
        ("instance-state-code", ["16"], both),
        ("reservation-id", [instance["ReservationId"]], {spot}),
        ("root-device-type", ["ebs"], both),
        ("hypervisor", ["xen"], both),
        ("launch-time", [launched.strftime("%Y-%m-%dT%H:%M:%S.000Z")], {spot}),
        ("launch-time", ["1999-*"], set()),
        ("metadata-options.http-tokens", ["required"], {spot}),
        ("network-interface.subnet-id", [instance["Instances"][0]["SubnetId"]], {spot}),
        ("iam-instance-profile.arn", ["*"], set()),
        ("source-dest-check", ["true"], both),
        ("ip-address", ["127.*"], both),
    ]
    for name, values, want in expected:
        assert _found(lab, name, *values) == want, (name, values)


def test_a_filter_on_the_instance_profile(lab: Lab) -> None:
    iam = lab.client("iam")
    arn = iam.create_instance_profile(InstanceProfileName="worker")["InstanceProfile"]["Arn"]
    with_profile = lab.launch(IamInstanceProfile={"Name": "worker"})
    lab.launch()
    lab.account.advance(LAG)
    assert _found(lab, "iam-instance-profile.arn", arn) == {with_profile}
    iam.delete_instance_profile(InstanceProfileName="worker")


def test_filters_of_statuses_and_spot_requests(lab: Lab, spot: str) -> None:
    def statuses(name: str, value: str) -> list[str]:
        filters = [{"Name": name, "Values": [value]}]
        answer = lab.ec2.describe_instance_status(Filters=filters)["InstanceStatuses"]
        return [status["InstanceId"] for status in answer]

    assert statuses("instance-status.status", "ok") == [spot]
    assert statuses("system-status.reachability", "failed") == []

    def requests(name: str, value: str) -> list[str]:
        filters = [{"Name": name, "Values": [value]}, {"Name": "state", "Values": ["active"]}]
        answer = lab.ec2.describe_spot_instance_requests(Filters=filters)["SpotInstanceRequests"]
        return [request["InstanceId"] for request in answer]

    assert requests("launch.instance-type", "g4dn*") == [spot]
    assert requests("status-code", "cancel*") == []


def _history(lab: Lab, **arguments: Any) -> list[dict[str, Any]]:
    return lab.ec2.describe_spot_price_history(**arguments)["SpotPriceHistory"]  # type: ignore[no-any-return]


def test_filters_of_spot_prices(lab: Lab) -> None:
    now = datetime.fromtimestamp(lab.account.clock.time(), UTC)
    filters = [{"Name": "instance-type", "Values": ["g4dn.?xlarge"]}, {"Name": "availability-zone", "Values": ["*1a"]}]
    points = _history(lab, StartTime=now, Filters=filters)
    assert {point["AvailabilityZone"] for point in points} == {"eu-north-1a"}
    assert {point["InstanceType"] for point in points} >= {"g4dn.2xlarge", "g4dn.4xlarge"}


def test_spot_prices_go_back_90_days_in_pages(lab: Lab) -> None:
    now = datetime.fromtimestamp(lab.account.clock.time(), UTC)
    pool = {"InstanceTypes": ["g4dn.xlarge"], "AvailabilityZone": "eu-north-1a"}
    points = _history(lab, **pool)
    assert points == sorted(points, key=lambda point: point["Timestamp"], reverse=True)
    oldest = now - points[-1]["Timestamp"]
    assert timedelta(days=89) < oldest < timedelta(days=91)
    assert len(_history(lab, StartTime=datetime(1980, 1, 1, tzinfo=UTC), **pool)) in range(len(points), len(points) + 2)
    assert _history(lab, StartTime=now, EndTime=now - timedelta(days=1), **pool) == []
    paginator = lab.ec2.get_paginator("describe_spot_price_history")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 200}, **pool))
    assert len(pages) == 3
    assert [point for page in pages for point in page["SpotPriceHistory"]] == points


@pytest.mark.parametrize(
    "action",
    [
        "describe_instances",
        "describe_instance_status",
        "describe_spot_instance_requests",
        "describe_spot_price_history",
    ],
)
def test_a_filter_that_aws_has_not_is_invalid_and_one_we_have_not_says_so(lab: Lab, spot: str, action: str) -> None:
    ours = {
        "describe_instances": "platform-details",
        "describe_instance_status": "event.code",
        "describe_spot_instance_requests": "valid-until",
        "describe_spot_price_history": "spot-price",
    }
    call = getattr(lab.ec2, action)
    invalid, unsupported = ([{"Name": name, "Values": ["x"]}] for name in ("no-such-filter", ours[action]))
    assert error_of(lambda: call(Filters=invalid)) == ("InvalidParameterValue", 400)
    assert error_of(lambda: call(Filters=unsupported)) == ("NotEmulated", 501)


@pytest.mark.parametrize("action", ["describe_instances", "describe_spot_price_history"])
@pytest.mark.parametrize("token", ["bad", "LTU=", "ÅÄÖ"])
def test_a_token_that_nobody_gave_is_refused(lab: Lab, action: str, token: str) -> None:
    assert error_of(lambda: getattr(lab.ec2, action)(NextToken=token)) == ("InvalidNextToken", 400)


def test_placement_scores_are_of_regions_that_exist(lab: Lab) -> None:
    ask = lambda: lab.ec2.get_spot_placement_scores(  # noqa: E731
        TargetCapacity=1, InstanceTypes=["g4dn.xlarge"], RegionNames=["xx-1"]
    )
    assert error_of(ask)[0] == "InvalidParameterValue"
