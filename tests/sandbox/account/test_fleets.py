"""EC2 Fleets: one call through many pools, fleets that are maintained, and how they are deleted."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from .lab import LAG, PENDING, SHUTTING_DOWN, Lab, error_of

# Longer than a maintained fleet takes to see what it is short of.
_REPLENISHED = 61.0
_ZONES = ("eu-north-1a", "eu-north-1b", "eu-north-1c")


@pytest.fixture
def template(lab: Lab) -> str:
    """A launch template with everything a run's launch has."""
    assert lab.key_file.exists()
    group = lab.ec2.create_security_group(GroupName="fleet", Description="for a test")["GroupId"]
    data = {
        "ImageId": lab.image,
        "InstanceType": "g4dn.xlarge",
        "KeyName": "lab",
        "SecurityGroupIds": [group],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required"},
        "UserData": base64.b64encode(b"#!/bin/sh\necho hello from a fleet\n").decode(),
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 12, "VolumeType": "gp3"}}],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}]}],
    }
    made = lab.ec2.create_launch_template(LaunchTemplateName="of-fleet", LaunchTemplateData=data)
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def _order(template: str, *overrides: dict[str, Any], target: int = 1, **more: Any) -> dict[str, Any]:
    places = overrides or tuple({"AvailabilityZone": zone} for zone in _ZONES)
    config = {
        "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Latest"},
        "Overrides": list(places),
    }
    order: dict[str, Any] = {
        "Type": "instant",
        "LaunchTemplateConfigs": [config],
        "TargetCapacitySpecification": {"TotalTargetCapacity": target, "DefaultTargetCapacityType": "spot"},
        "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
    }
    return {**order, **more}


def _ids(answer: dict[str, Any]) -> list[str]:
    return [instance for entry in answer["Instances"] for instance in entry["InstanceIds"]]


def _codes(answer: dict[str, Any]) -> dict[str, str]:
    """Zone → error code, of fleets whose overrides name zones."""
    return {
        error["LaunchTemplateAndOverrides"]["Overrides"]["AvailabilityZone"]: error["ErrorCode"]
        for error in answer["Errors"]
    }


def _fleet(lab: Lab, fleet_id: str) -> dict[str, Any]:
    return next(row for row in lab.account.table()["fleets"] if row["fleet_id"] == fleet_id)


def _cheapest_first(lab: Lab) -> list[str]:
    prices = lab.ec2.describe_spot_price_history(InstanceTypes=["g4dn.xlarge"], StartTime=lab.account.clock.time())
    return [row["AvailabilityZone"] for row in sorted(prices["SpotPriceHistory"], key=lambda row: row["SpotPrice"])]


def test_what_an_instant_fleet_launches_is_as_its_template_says(lab: Lab, template: str) -> None:
    tags = [
        {"ResourceType": "fleet", "Tags": [{"Key": "run", "Value": "r1"}]},
        {"ResourceType": "instance", "Tags": [{"Key": "run", "Value": "r1"}]},
    ]
    answer = lab.ec2.create_fleet(**_order(template, target=2, TagSpecifications=tags))
    (entry,) = answer["Instances"]
    assert answer["Errors"] == []
    assert (entry["Lifecycle"], entry["InstanceType"], len(entry["InstanceIds"])) == ("spot", "g4dn.xlarge", 2)
    assert entry["LaunchTemplateAndOverrides"]["LaunchTemplateSpecification"] == {
        "LaunchTemplateId": template,
        "Version": "1",
    }
    row = lab.row(entry["InstanceIds"][0])
    assert (row["market"], row["key_name"], row["zone"]) == ("spot", "lab", _cheapest_first(lab)[0])
    assert (row["tags"]["run"], row["tags"]["from"]) == ("r1", "template")
    assert (row["tags"]["aws:ec2:fleet-id"], row["public_ip"][:4]) == (answer["FleetId"], "127.")
    assert {volume["size"] for volume in lab.account.table()["volumes"]} == {12}
    groups = {group["group_id"]: group["name"] for group in lab.account.table()["security_groups"]}
    assert [groups[group] for group in row["security_groups"]] == ["fleet"]
    lab.account.advance(PENDING)
    (reservation, *_) = lab.ec2.describe_instances(InstanceIds=[row["instance_id"]])["Reservations"]
    instance = reservation["Instances"][0]
    assert (instance["InstanceLifecycle"], instance["MetadataOptions"]["HttpTokens"]) == ("spot", "required")
    assert len([r for r in lab.account.table()["spot_requests"] if r["instance_id"] in entry["InstanceIds"]]) == 2
    assert _fleet(lab, answer["FleetId"])["tags"] == {"run": "r1"}


def test_instances_of_a_fleet_boot(lab: Lab, template: str) -> None:
    (instance_id,) = _ids(lab.ec2.create_fleet(**_order(template)))
    lab.account.advance(PENDING + 30)
    console = lab.ec2.get_console_output(InstanceId=instance_id)["Output"]
    assert "hello from a fleet" in console


def test_an_empty_pool_is_passed_over_and_told(lab: Lab, template: str) -> None:
    first, second, _ = _cheapest_first(lab)
    lab.account.add_rule(f"pool zone={first} market=spot no-capacity")
    answer = lab.ec2.create_fleet(**_order(template))
    assert _codes(answer) == {first: "InsufficientInstanceCapacity"}
    assert [error["Lifecycle"] for error in answer["Errors"]] == ["spot"]
    assert lab.row(_ids(answer)[0])["zone"] == second


def test_a_fleet_that_gets_nothing_is_an_answer_and_no_error(lab: Lab, template: str) -> None:
    lab.account.add_rule("pool no-capacity")
    answer = lab.ec2.create_fleet(**_order(template))
    assert answer["Instances"] == []
    assert set(_codes(answer).values()) == {"InsufficientInstanceCapacity"}
    assert set(_codes(answer)) == set(_ZONES)
    (shown,) = lab.ec2.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    assert (shown["FleetState"], shown["FulfilledCapacity"], len(shown["Errors"])) == ("active", 0.0, 3)


def test_a_fault_of_launches_fails_the_pools_it_fits(lab: Lab, template: str) -> None:
    first, second, _ = _cheapest_first(lab)
    lab.account.add_rule(f"RunInstances error=UnauthorizedOperation zone={first} market=spot")
    lab.account.add_rule("RunInstances drop=after")  # of another call than this one
    answer = lab.ec2.create_fleet(**_order(template))
    assert _codes(answer) == {first: "UnauthorizedOperation"}
    assert lab.row(_ids(answer)[0])["zone"] == second
    assert [rule["hits"] for rule in lab.account.rules()] == [1, 0]


def test_the_quota_cuts_a_fleet_short(lab: Lab, template: str) -> None:
    answer = lab.ec2.create_fleet(**_order(template, target=3))
    assert len(_ids(answer)) == 2
    assert set(_codes(answer).values()) == {"MaxSpotInstanceCountExceeded"}
    on_demand = {"TotalTargetCapacity": 3, "DefaultTargetCapacityType": "on-demand"}
    answer = lab.ec2.create_fleet(**_order(template, TargetCapacitySpecification=on_demand))
    assert (len(_ids(answer)), set(_codes(answer).values())) == (2, {"VcpuLimitExceeded"})
    assert {lab.row(instance_id)["market"] for instance_id in _ids(answer)} == {"on-demand"}


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ({"InstanceType": "g5.xlarge"}, "InvalidFleetConfiguration"),  # sold in zones b and c
        ({"InstanceType": "g4dn.xxlarge"}, "InvalidFleetConfiguration"),
        ({"MaxPrice": "0.001"}, "SpotMaxPriceTooLow"),
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
    ],
)
def test_what_is_wrong_with_a_pool_is_said_of_that_pool(
    lab: Lab, template: str, override: dict[str, Any], code: str
) -> None:
    wrong = {"AvailabilityZone": "eu-north-1a", **override}
    strategy = {"AllocationStrategy": "capacity-optimized-prioritized"}
    right = {"AvailabilityZone": "eu-north-1b", "Priority": 1.0}
    answer = lab.ec2.create_fleet(**_order(template, {**wrong, "Priority": 0.0}, right, SpotOptions=strategy))
    assert _codes(answer) == {"eu-north-1a": code}
    assert lab.row(_ids(answer)[0])["zone"] == "eu-north-1b"


def test_subnets_priorities_and_weights_decide_where_and_how_many(lab: Lab, template: str) -> None:
    lab.account.add_rule("quota on-demand=64")
    subnets = {row["AvailabilityZone"]: row["SubnetId"] for row in lab.ec2.describe_subnets()["Subnets"]}
    overrides = [
        {"InstanceType": "g4dn.xlarge", "SubnetId": subnets["eu-north-1a"], "Priority": 2.0},
        {
            "InstanceType": "g4dn.2xlarge",
            "SubnetId": subnets["eu-north-1c"],
            "Priority": 1.0,
            "WeightedCapacity": 2.0,
        },
    ]
    answer = lab.ec2.create_fleet(
        **_order(
            template,
            *overrides,
            TargetCapacitySpecification={"TotalTargetCapacity": 3, "DefaultTargetCapacityType": "on-demand"},
            OnDemandOptions={"AllocationStrategy": "prioritized"},
        )
    )
    rows = [lab.row(instance_id) for instance_id in _ids(answer)]
    assert [(row["zone"], row["instance_type"]) for row in rows] == [("eu-north-1c", "g4dn.2xlarge")] * 2
    (shown,) = lab.ec2.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    assert (shown["FulfilledCapacity"], shown["ActivityStatus"]) == (4.0, "fulfilled")


def test_diversified_spreads_and_markets_can_be_mixed(lab: Lab, template: str) -> None:
    lab.account.add_rule("quota spot=64")
    target = {
        "TotalTargetCapacity": 4,
        "OnDemandTargetCapacity": 1,
        "DefaultTargetCapacityType": "spot",
    }
    diversified = {"AllocationStrategy": "diversified"}
    answer = lab.ec2.create_fleet(**_order(template, TargetCapacitySpecification=target, SpotOptions=diversified))
    rows = [lab.row(instance_id) for instance_id in _ids(answer)]
    assert sorted(row["zone"] for row in rows if row["market"] == "spot") == list(_ZONES)
    assert [row["market"] for row in rows].count("on-demand") == 1


def test_without_zones_every_zone_that_sells_the_type_is_a_pool(lab: Lab, template: str) -> None:
    lab.account.add_rule("pool no-capacity times=2")
    strategy = {"AllocationStrategy": "lowestPrice"}
    answer = lab.ec2.create_fleet(**_order(template, {"InstanceType": "g4dn.xlarge"}, SpotOptions=strategy))
    assert (len(answer["Errors"]), len(_ids(answer))) == (2, 1)
    assert lab.row(_ids(answer)[0])["zone"] == _cheapest_first(lab)[2]


def test_the_same_token_makes_one_fleet(lab: Lab, template: str) -> None:
    order = _order(template, ClientToken="fleet-once")
    first = lab.ec2.create_fleet(**order)
    again = lab.ec2.create_fleet(**order)
    assert (again["FleetId"], _ids(again)) == (first["FleetId"], _ids(first))
    other = _order(template, ClientToken="fleet-once", target=2)
    assert error_of(lambda: lab.ec2.create_fleet(**other))[0] == "IdempotentParameterMismatch"
    assert len([row for row in lab.account.table()["instances"] if row["live"]]) == 1


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"DryRun": True}, "DryRunOperation"),
        ({"Type": "eager"}, "InvalidParameterValue"),
        ({"SpotOptions": {"AllocationStrategy": "luck"}}, "InvalidParameterValue"),
        ({"SpotOptions": {"MinTargetCapacity": 1}}, "NotEmulated"),
        ({"LaunchTemplateConfigs": []}, "MissingParameter"),
        ({"TargetCapacitySpecification": {"TotalTargetCapacity": 1, "SpotTargetCapacity": 2}}, "InvalidParameterValue"),
        ({"TagSpecifications": [{"ResourceType": "subnet", "Tags": []}]}, "InvalidParameterValue"),
        (
            {"Type": "maintain", "TagSpecifications": [{"ResourceType": "instance", "Tags": []}]},
            "InvalidParameterValue",
        ),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(lab: Lab, template: str, more: dict[str, Any], code: str) -> None:
    before = len(lab.account.table()["fleets"])
    assert error_of(lambda: lab.ec2.create_fleet(**_order(template, **more)))[0] == code
    assert len(lab.account.table()["fleets"]) == before
    assert not [row for row in lab.account.table()["instances"] if row["live"]]


def test_a_maintained_fleet_launches_again_until_it_is_deleted(lab: Lab, template: str) -> None:
    fleet_id = lab.ec2.create_fleet(**_order(template, Type="maintain"))["FleetId"]
    (first,) = _fleet(lab, fleet_id)["instances"]
    lab.ec2.terminate_instances(InstanceIds=[first])
    lab.account.advance(_REPLENISHED)
    _, second = _fleet(lab, fleet_id)["instances"]
    assert (lab.state(second), lab.row(second)["market"]) == ("pending", "spot")
    active = lab.ec2.describe_fleet_instances(FleetId=fleet_id)["ActiveInstances"]
    assert [row["InstanceId"] for row in active] == [second]
    (deleted,) = lab.ec2.delete_fleets(FleetIds=[fleet_id], TerminateInstances=True)["SuccessfulFleetDeletions"]
    assert (deleted["PreviousFleetState"], deleted["CurrentFleetState"]) == ("active", "deleted_terminating")
    assert lab.state(second) == "shutting-down"
    assert _fleet(lab, fleet_id)["state"] == "deleted_terminating"
    lab.account.advance(SHUTTING_DOWN + _REPLENISHED)
    row = _fleet(lab, fleet_id)
    assert (row["state"], len(row["instances"])) == ("deleted", 2)


def test_a_maintained_fleet_replaces_what_is_interrupted_once_there_is_capacity(lab: Lab, template: str) -> None:
    fleet_id = lab.ec2.create_fleet(**_order(template, Type="maintain"))["FleetId"]
    lab.account.advance(PENDING)
    lab.account.add_rule("interrupt any after=10s notice=0s")
    lab.account.add_rule("pool no-capacity")
    lab.account.advance(10 + 5 * _REPLENISHED)
    assert len(_fleet(lab, fleet_id)["instances"]) == 1
    (shown,) = lab.ec2.describe_fleets(FleetIds=[fleet_id])["Fleets"]
    assert (shown["ActivityStatus"], shown["FulfilledCapacity"]) == ("error", 0.0)
    lab.account.clear_rules()
    lab.account.advance(_REPLENISHED)
    assert len(_fleet(lab, fleet_id)["instances"]) == 2
    (shown,) = lab.ec2.describe_fleets(FleetIds=[fleet_id])["Fleets"]
    assert shown["ActivityStatus"] == "fulfilled"


def test_a_requested_fleet_launches_once_and_may_be_deleted_without_its_instances(lab: Lab, template: str) -> None:
    fleet_id = lab.ec2.create_fleet(**_order(template, Type="request", target=2))["FleetId"]
    first, second = _fleet(lab, fleet_id)["instances"]
    lab.ec2.terminate_instances(InstanceIds=[first])
    lab.account.advance(PENDING)
    assert len(_fleet(lab, fleet_id)["instances"]) == 2
    lab.ec2.delete_fleets(FleetIds=[fleet_id], TerminateInstances=False)
    assert (_fleet(lab, fleet_id)["state"], lab.state(second)) == ("deleted_running", "running")
    (request,) = [row for row in lab.account.table()["spot_requests"] if row["instance_id"] == second]
    assert request["state"] == "cancelled"
    lab.ec2.terminate_instances(InstanceIds=[second])
    lab.account.advance(SHUTTING_DOWN)
    assert _fleet(lab, fleet_id)["state"] == "deleted"


def test_describe_shows_fleets_by_their_filters_and_instant_ones_by_id_alone(lab: Lab, template: str) -> None:
    tags = [{"ResourceType": "fleet", "Tags": [{"Key": "run", "Value": "r9"}]}]
    kept = lab.ec2.create_fleet(**_order(template, Type="maintain", TagSpecifications=tags))["FleetId"]
    instant = lab.ec2.create_fleet(**_order(template, TagSpecifications=tags))["FleetId"]

    def found(**by: Any) -> set[str]:
        return {fleet["FleetId"] for fleet in lab.ec2.describe_fleets(**by)["Fleets"]}

    def by(name: str, value: str) -> set[str]:
        return found(Filters=[{"Name": name, "Values": [value]}]) & {kept, instant}

    assert found() & {kept, instant} == {kept}
    assert found(FleetIds=[kept, instant]) == {kept, instant}
    assert by("type", "maintain") == {kept}
    assert by("type", "request") == set()
    assert by("fleet-state", "active") == {kept}
    assert by("activity-status", "fulfilled") == {kept}
    assert error_of(lambda: by("tag:run", "r9"))[0] == "InvalidParameterValue"
    (shown,) = lab.ec2.describe_fleets(FleetIds=[instant])["Fleets"]
    assert shown["Tags"] == tags[0]["Tags"]
    by_tag = [{"Name": "resource-type", "Values": ["fleet"]}, {"Name": "value", "Values": ["r9"]}]
    assert {tag["ResourceId"] for tag in lab.ec2.describe_tags(Filters=by_tag)["Tags"]} == {kept, instant}
    assert error_of(lambda: lab.ec2.describe_fleet_instances(FleetId=instant))[0] == "Unsupported"
    assert error_of(lambda: found(FleetIds=["fleet-" + "0" * 8]))[0] == "InvalidFleetId.NotFound"
    lab.ec2.delete_fleets(FleetIds=[kept], TerminateInstances=False)
    assert by("fleet-state", "deleted-running") == {kept}


def test_each_fleet_is_deleted_or_refused_by_itself(lab: Lab, template: str) -> None:
    instant = lab.ec2.create_fleet(**_order(template))["FleetId"]
    unknown = "fleet-00000000-0000-0000-0000-000000000000"

    def delete(*, terminate: bool) -> tuple[set[str], dict[str, str]]:
        answer = lab.ec2.delete_fleets(FleetIds=[instant, unknown, "fleet-1"], TerminateInstances=terminate)
        refused = {row["FleetId"]: row["Error"]["Code"] for row in answer["UnsuccessfulFleetDeletions"]}
        return {row["FleetId"] for row in answer["SuccessfulFleetDeletions"]}, refused

    missing = {unknown: "fleetIdDoesNotExist", "fleet-1": "fleetIdMalformed"}
    assert delete(terminate=False) == (set(), {**missing, instant: "NoTerminateInstancesNotSupported"})
    assert delete(terminate=True) == ({instant}, missing)
    lab.account.advance(max(SHUTTING_DOWN, LAG))
    assert delete(terminate=True) == (set(), {**missing, instant: "fleetNotInDeletableState"})
    assert not [row for row in lab.account.table()["instances"] if row["live"]]
