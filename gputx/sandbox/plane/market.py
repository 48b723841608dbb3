"""What things cost and how much one may have: spot prices, placement scores, the price list, quotas."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gputx.sandbox.clock import SandboxClock
from gputx.sandbox.plane import catalog, emulator
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.matching import matches
from gputx.sandbox.plane.wire import AwsError, NotEmulated, decode_page, encode_page
from gputx.sandbox.rulebook import RuleBook

_PRODUCTS = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")
_PRICE_PAGE = 1000
# AWS keeps spot prices for this long.
_HISTORY_SECONDS = 90 * 86400.0


class MarketActions:
    """EC2's two market questions."""

    def __init__(self, clock: SandboxClock, rules: RuleBook) -> None:
        self._clock = clock
        self._rules = rules

    def describe_spot_price_history(self, call: Ec2Call) -> dict[str, Any]:
        """DescribeSpotPriceHistory: for each pool, newest first, the prices that held in the time asked for.

        With StartTime now, AWS answers one price per pool: the one that holds.
        """
        params, filters = call.params, call.filters
        for name in filters:
            if name in ("spot-price", "timestamp", "availability-zone-id"):
                raise NotEmulated("ec2", "DescribeSpotPriceHistory", f"with the filter {name}")
            if name not in ("availability-zone", "instance-type", "product-description"):
                raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
        now = self._clock.time()
        until = _seconds(params.get("EndTime"), math.inf)
        end = min(until, now)
        start = max(_seconds(params.get("StartTime"), 0), now - _HISTORY_SECONDS)
        first = decode_page(params.get("NextToken"))
        last = first + int(params.get("MaxResults") or _PRICE_PAGE)
        pools = self._pools(call.region, params, filters)
        if not pools or until < start:
            return {"SpotPriceHistory": [], "NextToken": ""}
        # A start that is still to come asks for the price that holds.
        steps = list(catalog.spot_steps(min(start, end), end))
        total = len(steps) * len(pools)
        history = []
        for number in range(first, min(last, total)):
            at, (kind, zone, vcpus) = steps[number // len(pools)], pools[number % len(pools)]
            history.append(
                {
                    "AvailabilityZone": zone,
                    "InstanceType": kind,
                    "ProductDescription": "Linux/UNIX",
                    "SpotPrice": f"{catalog.spot_price(kind, vcpus, zone, at):.6f}",
                    "Timestamp": datetime.fromtimestamp(at, UTC),
                }
            )
        return {"SpotPriceHistory": history, "NextToken": encode_page(last) if last < total else ""}

    def _pools(
        self, region: str, params: Mapping[str, Any], filters: Mapping[str, list[str]]
    ) -> list[tuple[str, str, int]]:
        """(type, zone, vCPUs) of every pool that a question about prices is about."""
        products = params.get("ProductDescriptions") or list(_PRODUCTS)
        if not set(products) & set(_PRODUCTS) or not matches(_PRODUCTS, filters.get("product-description", ["*"])):
            return []
        types, zone = params.get("InstanceTypes"), params.get("AvailabilityZone")
        return [
            (offer["InstanceType"], offer["Location"], vcpus)
            for offer in emulator.offered_types(region)
            if (not types or offer["InstanceType"] in types)
            and (not zone or offer["Location"] == zone)
            and matches([offer["InstanceType"]], filters.get("instance-type", ["*"]))
            and matches([offer["Location"]], filters.get("availability-zone", ["*"]))
            and (vcpus := emulator.vcpus(offer["InstanceType"]))
        ]

    def get_spot_placement_scores(self, call: Ec2Call) -> dict[str, Any]:
        """GetSpotPlacementScores, by zone id if single zones are asked for, else by region."""
        params = call.params
        types = params.get("InstanceTypes") or []
        if not types:
            raise NotEmulated("ec2", "GetSpotPlacementScores", "by instance requirements")
        unknown = [kind for kind in types if emulator.vcpus(kind) is None]
        if unknown:
            raise AwsError(
                "InvalidParameterValue",
                "The request contains instance types that are not valid. Remove or correct the following "
                f"instance types, and try again: [{', '.join(unknown)}].",
            )
        regions = params.get("RegionNames") or [call.region]
        for region in regions:
            if region not in emulator.regions():
                raise AwsError("InvalidParameterValue", f"The region name '{region}' is not valid.")
        if not params.get("SingleAvailabilityZone"):
            scores = [
                {"Region": region, "Score": catalog.placement_score(types, region, has_capacity=True)}
                for region in regions
            ]
            return {"SpotPlacementScores": scores}
        scores = []
        for region in regions:
            for zone in emulator.ec2(region).describe_availability_zones():
                sold = {o["InstanceType"] for o in emulator.offered_types(region) if o["Location"] == zone.name}
                if not sold & set(types):
                    continue
                capacity = any(self._rules.has_capacity(zone.name, kind, "spot", count_hit=False) for kind in types)
                score = catalog.placement_score(types, zone.zone_id, has_capacity=capacity)
                scores.append({"Region": region, "AvailabilityZoneId": zone.zone_id, "Score": score})
        return {"SpotPlacementScores": scores}


def get_products(params: Mapping[str, Any]) -> dict[str, Any]:
    """Pricing GetProducts, for Linux instances on demand and on shared tenancy.

    The answer has AWS's shape: ``PriceList`` is a list of JSON documents, each as a string.
    """
    if params.get("ServiceCode") != "AmazonEC2":
        raise NotEmulated("pricing", "GetProducts", f"for {params.get('ServiceCode')}")
    wanted = {entry["Field"]: entry["Value"] for entry in params.get("Filters") or []}
    region = wanted.get("regionCode")
    kinds = [wanted["instanceType"]] if "instanceType" in wanted else []
    if not region or not kinds:
        raise NotEmulated("pricing", "GetProducts", "without the filters regionCode and instanceType")
    products = []
    for kind in kinds:
        vcpus = emulator.vcpus(kind)
        sold = any(offer["InstanceType"] == kind for offer in emulator.offered_types(region))
        if vcpus is None or not sold:
            continue
        product = _product(kind, vcpus, region)
        attributes = {**product["product"]["attributes"], "productFamily": "Compute Instance"}
        if all(attributes.get(field, value) == value for field, value in wanted.items()):
            products.append(json.dumps(product))
    return {"FormatVersion": "aws_v1", "PriceList": products}


def get_service_quota(params: Mapping[str, Any], rules: RuleBook, region: str) -> dict[str, Any]:
    """Service Quotas GetServiceQuota for the G and VT instance quotas."""
    for quota in list_service_quotas(params, rules, region)["Quotas"]:
        if quota["QuotaCode"] == params.get("QuotaCode"):
            return {"Quota": quota}
    raise AwsError("NoSuchResourceException", "The request failed because the specified quota does not exist.", 404)


def list_service_quotas(params: Mapping[str, Any], rules: RuleBook, region: str) -> dict[str, Any]:
    """Service Quotas ListServiceQuotas: the two quotas the sandbox knows."""
    if params.get("ServiceCode") != "ec2":
        raise AwsError("NoSuchResourceException", "The specified service does not exist.", 404)
    quotas = []
    for market, code in catalog.QUOTA_CODES.items():
        arn = f"arn:aws:servicequotas:{region}:{emulator.ACCOUNT_ID}:ec2/{code}"
        quotas.append(
            {
                "ServiceCode": "ec2",
                "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
                "QuotaArn": arn,
                "QuotaCode": code,
                "QuotaName": catalog.QUOTA_NAMES[market],
                "Value": rules.value(f"quota {market}"),
                "Unit": "None",
                "Adjustable": True,
                "GlobalQuota": False,
            }
        )
    return {"Quotas": quotas}


def _product(kind: str, vcpus: int, region: str) -> dict[str, Any]:
    sku = kind.replace(".", "").upper()
    rate = f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    return {
        "product": {
            "productFamily": "Compute Instance",
            "sku": sku,
            "attributes": {
                "instanceType": kind,
                "vcpu": str(vcpus),
                "regionCode": region,
                "operatingSystem": "Linux",
                "tenancy": "Shared",
                "capacitystatus": "Used",
                "preInstalledSw": "NA",
                "marketoption": "OnDemand",
                "licenseModel": "No License required",
                "operation": "RunInstances",
                "servicecode": "AmazonEC2",
            },
        },
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {
                f"{sku}.JRTCKXETXF": {
                    "sku": sku,
                    "offerTermCode": "JRTCKXETXF",
                    "termAttributes": {},
                    "priceDimensions": {
                        rate: {
                            "rateCode": rate,
                            "unit": "Hrs",
                            "beginRange": "0",
                            "endRange": "Inf",
                            "description": f"per On Demand Linux {kind} Instance Hour",
                            "appliesTo": [],
                            "pricePerUnit": {"USD": f"{catalog.on_demand_price(kind, vcpus):.10f}"},
                        }
                    },
                }
            }
        },
        "version": "20250101000000",
        "publicationDate": "2025-01-01T00:00:00Z",
    }


def _seconds(value: datetime | None, default: float) -> float:
    if value is None:
        return default
    return value.replace(tzinfo=value.tzinfo or UTC).timestamp()
