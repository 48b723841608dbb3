"""Spot: requests, prices that move with the clock, placement scores, interruptions; and the price list."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from .lab import LAG, SHUTTING_DOWN, Lab, error_of

GPU = {"InstanceTypes": ["g4dn.xlarge"], "ProductDescriptions": ["Linux/UNIX"]}


def _request_of(lab: Lab, instance_id: str) -> dict[str, Any]:
    by_instance = [{"Name": "instance-id", "Values": [instance_id]}]
    found = lab.ec2.describe_spot_instance_requests(Filters=by_instance)["SpotInstanceRequests"]
    assert len(found) == 1
    return found[0]  # type: ignore[no-any-return]


def test_a_request_closes_with_its_instance(lab: Lab) -> None:
    instance_id = lab.launch()
    lab.account.advance(LAG)
    request = _request_of(lab, instance_id)
    assert (request["State"], request["Status"]["Code"], request["Type"]) == (
        "active",
        "fulfilled",
        "one-time",
    )
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    request = _request_of(lab, instance_id)
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-by-user")


def test_cancelling_a_request_leaves_its_instance_running(lab: Lab) -> None:
    instance_id = lab.launch_running()
    request_id = _request_of(lab, instance_id)["SpotInstanceRequestId"]
    lab.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request_id])
    assert lab.state(instance_id) == "running"
    assert _request_of(lab, instance_id)["State"] == "cancelled"


def test_a_one_time_spot_instance_cannot_be_stopped(lab: Lab) -> None:
    instance_id = lab.launch_running()
    stop = lambda: lab.ec2.stop_instances(InstanceIds=[instance_id])  # noqa: E731
    assert error_of(stop)[0] == "UnsupportedOperation"


def test_an_on_demand_instance_has_no_request(lab: Lab) -> None:
    instance_id = lab.launch(InstanceMarketOptions=None)
    assert instance_id not in {row["instance_id"] for row in lab.account.table()["spot_requests"]}


def test_an_interruption_warns_and_then_ends_the_instance(lab: Lab) -> None:
    instance_id = lab.launch_running()
    # Real time runs too, between the turns of the clock: a busy machine has a minute for each step.
    lab.account.add_rule("interrupt any after=300s")
    lab.account.advance(240)
    assert _request_of(lab, instance_id)["Status"]["Code"] == "fulfilled"
    lab.account.advance(60)
    assert _request_of(lab, instance_id)["Status"]["Code"] == "marked-for-termination"
    lab.account.advance(60)
    assert lab.state(instance_id) == "running"
    lab.account.advance(60)
    assert lab.row(instance_id)["reason"] == "Server.SpotInstanceTermination"
    assert _request_of(lab, instance_id)["Status"]["Code"] == "instance-terminated-no-capacity"


def test_an_interruption_can_come_without_a_warning_and_spares_on_demand(lab: Lab) -> None:
    on_demand = lab.launch_running(InstanceMarketOptions=None)
    spot = lab.launch_running()
    (rule,) = [lab.account.add_rule("interrupt any notice=0s times=9")]
    lab.account.advance(0)
    assert lab.state(spot) == "shutting-down"
    lab.account.advance(SHUTTING_DOWN)
    assert lab.state(on_demand) == "running"
    assert [entry["hits"] for entry in lab.account.rules() if entry["id"] == rule["id"]] == [1]


def test_prices_are_per_zone_plausible_and_filtered(lab: Lab) -> None:
    now = datetime.fromtimestamp(lab.account.clock.time(), UTC)
    history = lab.ec2.describe_spot_price_history(StartTime=now, **GPU)["SpotPriceHistory"]
    assert {point["AvailabilityZone"] for point in history} == {"eu-north-1a", "eu-north-1b", "eu-north-1c"}
    assert len(history) == 3
    assert all(0.175 < float(point["SpotPrice"]) < 0.195 for point in history)
    zone = lab.ec2.describe_spot_price_history(StartTime=now, AvailabilityZone="eu-north-1b", **GPU)
    assert [point["AvailabilityZone"] for point in zone["SpotPriceHistory"]] == ["eu-north-1b"]
    windows = lab.ec2.describe_spot_price_history(InstanceTypes=["g4dn.xlarge"], ProductDescriptions=["Windows"])
    assert windows["SpotPriceHistory"] == []


def test_prices_move_with_the_clock(lab: Lab) -> None:
    def prices() -> list[str]:
        now = datetime.fromtimestamp(lab.account.clock.time(), UTC)
        history = lab.ec2.describe_spot_price_history(StartTime=now, **GPU)["SpotPriceHistory"]
        return [point["SpotPrice"] for point in history]

    before = prices()
    lab.account.advance(86400)
    assert prices() != before


def test_placement_scores_are_by_zone_id_and_low_for_few_types(lab: Lab) -> None:
    question = {"TargetCapacity": 1, "SingleAvailabilityZone": True, "RegionNames": ["eu-north-1"]}
    few = lab.ec2.get_spot_placement_scores(InstanceTypes=["g4dn.xlarge"], **question)["SpotPlacementScores"]
    assert {score["AvailabilityZoneId"] for score in few} == {"eun1-az1", "eun1-az2", "eun1-az3"}
    assert all(score["Score"] <= 3 for score in few)
    types = ["g4dn.xlarge", "g4dn.2xlarge", "g4dn.4xlarge"]
    many = lab.ec2.get_spot_placement_scores(InstanceTypes=types, **question)["SpotPlacementScores"]
    assert all(score["Score"] >= 7 for score in many)
    unknown = lambda: lab.ec2.get_spot_placement_scores(InstanceTypes=["g0.tiny"], **question)  # noqa: E731
    assert error_of(unknown)[0] == "InvalidParameterValue"


def test_the_price_list_has_the_on_demand_price(lab: Lab) -> None:
    wanted = {
        "instanceType": "g4dn.xlarge",
        "regionCode": "eu-north-1",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "preInstalledSw": "NA",
    }
    pricing = lab.client("pricing", region_name="us-east-1")

    def products(**changes: str) -> list[Any]:
        filters = [{"Type": "TERM_MATCH", "Field": f, "Value": v} for f, v in {**wanted, **changes}.items()]
        return [
            json.loads(text) for text in pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
        ]

    (product,) = products()
    (term,) = product["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert float(dimension["pricePerUnit"]["USD"]) == 0.558
    assert dimension["unit"] == "Hrs"
    assert products(operatingSystem="Windows") == []


def test_what_is_sold_where(lab: Lab) -> None:
    def zones(kind: str) -> set[str]:
        by_type = [{"Name": "instance-type", "Values": [kind]}]
        answer = lab.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=by_type)
        return {offer["Location"] for offer in answer["InstanceTypeOfferings"]}

    assert zones("g4dn.xlarge") == {"eu-north-1a", "eu-north-1b", "eu-north-1c"}
    assert zones("g5.xlarge") == {"eu-north-1b", "eu-north-1c"}
