"""On-demand prices, read live from the Price List API. Nothing here is a remembered figure."""

from __future__ import annotations

import json
from typing import Any

from gputx.aws.session import AwsSession


def on_demand_hourly(session: AwsSession, instance_type: str) -> float | None:
    """USD per hour for shared Linux, or None where AWS names no price.

    Raises:
        AwsError: the Price List API may not be called, or does not answer.
    """
    wanted = {
        "instanceType": instance_type,
        "regionCode": session.region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
    }
    answer = session.call(
        "pricing",
        "GetProducts",
        ServiceCode="AmazonEC2",
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()],
        MaxResults=10,
    )
    prices = [price for item in answer["PriceList"] for price in _hourly(json.loads(item))]
    return min(prices, default=None)


def _hourly(product: dict[str, Any]) -> list[float]:
    dimensions = [
        dimension
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
    ]
    return [
        float(d["pricePerUnit"]["USD"]) for d in dimensions if d.get("unit") == "Hrs" and "USD" in d["pricePerUnit"]
    ]
