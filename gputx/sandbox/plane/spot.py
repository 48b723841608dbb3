"""Spot requests: what RunInstances makes beside a spot instance, and how it ends with it."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.matching import by_tags, passes
from gputx.sandbox.plane.wire import AwsError

_STATUS_MESSAGES = {
    "fulfilled": "Your spot request is fulfilled.",
    "marked-for-termination": "Your Spot Instance is marked for termination.",
    "instance-terminated-by-user": "Spot Instance terminated due to user-initiated termination.",
    "instance-terminated-no-capacity": "Your Spot Instance was terminated as there is no capacity left.",
    "request-canceled-and-instance-running": "Your Spot request is canceled, your instance is still running.",
}
_MORE_FILTERS = (
    r"availability-zone-group|create-time|fault-(code|message)|launch-group|launch\..*|network-interface\..*|"
    r"valid-(from|until)|launched-availability-zone-id"
)


@dataclass
class SpotRequest:
    """A one-time request; ``status`` is its status code."""

    id: str
    backend: Any
    instance: Any
    created: float
    zone: str
    max_price: str
    state: str = "active"
    status: str = "fulfilled"
    visible_at: float = 0.0

    def close(self, status: str) -> None:
        """The instance is going: an active request closes, a cancelled one keeps its state."""
        if self.state == "active":
            self.state = "closed"
        self.status = status

    def cancel(self) -> None:
        """No longer wanted; the instance goes on running, as AWS leaves it."""
        if self.state == "active":
            self.state, self.status = "cancelled", "request-canceled-and-instance-running"

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.backend.tags.get(self.id, {}))

    def as_response(self) -> dict[str, Any]:
        """As DescribeSpotInstanceRequests shows it."""
        created = datetime.fromtimestamp(self.created, UTC)
        return {
            "SpotInstanceRequestId": self.id,
            "InstanceId": self.instance.id,
            "InstanceInterruptionBehavior": "terminate",
            "CreateTime": created,
            "LaunchedAvailabilityZone": self.zone,
            "LaunchSpecification": {
                "ImageId": self.instance.image_id,
                "InstanceType": self.instance.instance_type,
                "KeyName": self.instance.key_name,
                "Placement": {"AvailabilityZone": self.zone},
            },
            "ProductDescription": "Linux/UNIX",
            "SpotPrice": self.max_price,
            "State": self.state,
            "Status": {"Code": self.status, "Message": _STATUS_MESSAGES[self.status], "UpdateTime": created},
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
            "Type": "one-time",
        }

    def passes(self, name: str, values: list[str]) -> bool:
        """Whether one filter lets this request through.

        Raises:
            AwsError: NotEmulated, InvalidParameterValue.
        """
        said = by_tags(name, values, self.tags)
        if said is not None:
            return said
        known: dict[str, Callable[[], Iterable[object]]] = {
            "spot-instance-request-id": lambda: [self.id],
            "instance-id": lambda: [self.instance.id],
            "state": lambda: [self.state],
            "status-code": lambda: [self.status],
            "status-message": lambda: [_STATUS_MESSAGES[self.status]],
            "type": lambda: ["one-time"],
            "launched-availability-zone": lambda: [self.zone],
            "launch.instance-type": lambda: [self.instance.instance_type],
            "launch.image-id": lambda: [self.instance.image_id],
            "launch.key-name": lambda: [self.instance.key_name],
            "product-description": lambda: ["Linux/UNIX"],
            "spot-price": lambda: [self.max_price],
        }
        return passes("DescribeSpotInstanceRequests", name, values, known, _MORE_FILTERS)


class SpotRequests:
    """All spot requests of the account."""

    def __init__(self) -> None:
        self._requests: dict[str, SpotRequest] = {}

    def open(self, backend: Any, instance: Any, *, created: float, zone: str, max_price: str) -> SpotRequest:
        """The request behind a spot instance that has just been launched."""
        alphabet = string.ascii_lowercase + string.digits
        request_id = "sir-" + "".join(secrets.choice(alphabet) for _ in range(8))
        request = SpotRequest(request_id, backend, instance, created, zone, max_price)
        self._requests[request_id] = request
        return request

    def all(self) -> list[SpotRequest]:
        return list(self._requests.values())

    def describe(self, call: Ec2Call, now: float) -> dict[str, Any]:
        """DescribeSpotInstanceRequests."""
        wanted = call.params.get("SpotInstanceRequestIds") or []
        found = [request for request in self.all() if request.backend is call.backend and request.visible_at <= now]
        if wanted:
            missing = set(wanted) - {request.id for request in found}
            if missing:
                raise _not_found(min(missing))
            found = [request for request in found if request.id in wanted]
        for name, values in call.filters.items():
            found = [request for request in found if request.passes(name, values)]
        return {"SpotInstanceRequests": [request.as_response() for request in found]}

    def cancel(self, call: Ec2Call) -> dict[str, Any]:
        """CancelSpotInstanceRequests. The instance goes on running, as AWS leaves it."""
        wanted = call.params.get("SpotInstanceRequestIds") or []
        for request_id in wanted:
            request = self._requests.get(request_id)
            if request is None or request.backend is not call.backend:
                raise _not_found(request_id)
        for request_id in wanted:
            self._requests[request_id].cancel()
        cancelled = [{"SpotInstanceRequestId": i, "State": self._requests[i].state} for i in wanted]
        return {"CancelledSpotInstanceRequests": cancelled}


def _not_found(request_id: str) -> AwsError:
    return AwsError(
        "InvalidSpotInstanceRequestID.NotFound",
        f"The spot instance request ID '{request_id}' does not exist",
    )
