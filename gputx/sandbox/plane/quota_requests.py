"""Service Quotas: asking for more, and AWS's answer a day later."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from gputx.sandbox.plane import catalog, emulator
from gputx.sandbox.plane.wire import AwsError
from gputx.sandbox.rulebook import RuleBook
from gputx.sandbox.timers import Timers

DECIDED_AFTER_SECONDS = 86400.0
"""AWS takes minutes to days."""


@dataclass
class _Request:
    id: str
    region: str
    code: str
    wanted: float
    status: str
    created: float


class QuotaRequests:
    """Requests are granted a day on: from then on the quota is what was asked for. Called under the account's lock."""

    def __init__(self, timers: Timers, rules: RuleBook) -> None:
        self._timers = timers
        self._rules = rules
        self._requests: list[_Request] = []

    def request(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        """RequestServiceQuotaIncrease.

        Raises:
            AwsError: with the code AWS would answer.
        """
        market = _market(params)
        code, wanted = str(params["QuotaCode"]), float(params["DesiredValue"])
        if any(r.code == code and r.region == region and r.status == "CASE_OPENED" for r in self._requests):
            raise AwsError("ResourceAlreadyExistsException", "A request for this quota is open already.")
        if wanted <= self._rules.value(f"quota {market}"):
            raise AwsError("IllegalArgumentException", "You must provide a quota value greater than the current value.")
        now = self._timers.now()
        request = _Request(uuid.uuid4().hex, region, code, wanted, "CASE_OPENED", now)
        self._requests.append(request)
        self._timers.at(now + DECIDED_AFTER_SECONDS, lambda _: self._grant(request, market))
        return {"RequestedQuota": _shown(request)}

    def history(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        """ListRequestedServiceQuotaChangeHistoryByQuota. Raises AwsError."""
        _market(params)
        code, status = params["QuotaCode"], params.get("Status")
        found = [r for r in self._requests if (r.code, r.region) == (code, region) and status in {None, r.status}]
        return {"RequestedQuotas": [_shown(request) for request in reversed(found)]}

    def one(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        """GetRequestedServiceQuotaChange. Raises AwsError."""
        for request in self._requests:
            if (request.id, request.region) == (params.get("RequestId"), region):
                return {"RequestedQuota": _shown(request)}
        raise AwsError("NoSuchResourceException", "There is no such request.", 404)

    def all(self) -> list[dict[str, Any]]:
        """Every request there ever was."""
        return [
            {"id": r.id, "region": r.region, "quota": r.code, "wanted": r.wanted, "status": r.status}
            for r in self._requests
        ]

    def _grant(self, request: _Request, market: str) -> None:
        request.status = "APPROVED"
        self._rules.add(f"quota {market}={request.wanted:g}")


def _market(params: dict[str, Any]) -> str:
    for market, code in catalog.QUOTA_CODES.items():
        if params.get("ServiceCode") == "ec2" and params.get("QuotaCode") == code:
            return market
    raise AwsError("NoSuchResourceException", "The request failed because the specified quota does not exist.", 404)


def _shown(request: _Request) -> dict[str, Any]:
    return {
        "Id": request.id,
        "ServiceCode": "ec2",
        "QuotaCode": request.code,
        "DesiredValue": request.wanted,
        "Status": request.status,
        "Created": request.created,
        "QuotaArn": f"arn:aws:servicequotas:{request.region}:{emulator.ACCOUNT_ID}:ec2/{request.code}",
    }
