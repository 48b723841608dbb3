"""AWS Budgets, as far as gputx asks for it: monthly cost budgets with their alerts, addresses and tags.

moto keeps budgets without tags, and alerts without addresses. Nothing is ever spent here, so no alert is sent.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.calls import Call
from gputx.sandbox.plane.wire import AwsError, NotEmulated

_MOST_ALERTS, _MOST_ADDRESSES = 10, 10


@dataclass
class _Budget:
    definition: dict[str, Any]
    alerts: list[tuple[dict[str, Any], list[dict[str, str]]]]
    tags: dict[str, str] = field(default_factory=dict)


class Budgets:
    """Answers calls to the service ``budgets``; it has no regions. Called under the account's lock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._budgets: dict[str, _Budget] = {}
        self._actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateBudget": self._create,
            "UpdateBudget": self._update,
            "DescribeBudget": lambda params: {"Budget": self._shown(self._find(params))},
            "DescribeBudgets": lambda _: {"Budgets": [self._shown(budget) for budget in self._budgets.values()]},
            "DeleteBudget": self._delete,
            "CreateNotification": self._create_notification,
            "DescribeNotificationsForBudget": self._notifications,
            "CreateSubscriber": self._create_subscriber,
            "DescribeSubscribersForNotification": lambda params: {"Subscribers": self._alert(params)[1]},
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def answer(self, call: Call) -> dict[str, Any]:
        """The answer to a call.

        Raises:
            AwsError: with the code AWS would answer; NotEmulated.
        """
        action = self._actions.get(call.action)
        if action is None:
            raise NotEmulated("budgets", call.action)
        if call.params.get("AccountId", emulator.ACCOUNT_ID) != emulator.ACCOUNT_ID:
            raise AwsError("AccessDeniedException", "You can only see budgets of your own account.")
        return copy.deepcopy(action(call.params))

    def all(self) -> list[dict[str, Any]]:
        """Every budget: name, limit, how many are written to, tags."""
        return [
            {
                "name": name,
                "limit": budget.definition.get("BudgetLimit", {}),
                "alerts": {
                    f"{alert['NotificationType']} {alert['Threshold']:g}": [one["Address"] for one in addresses]
                    for alert, addresses in budget.alerts
                },
                "tags": dict(budget.tags),
            }
            for name, budget in self._budgets.items()
        ]

    def _create(self, params: dict[str, Any]) -> dict[str, Any]:
        definition = params["Budget"]
        name = definition["BudgetName"]
        if name in self._budgets:
            raise AwsError("DuplicateRecordException", f"Error creating budget: {name} - the budget already exists.")
        _check_limit(definition)
        given = params.get("NotificationsWithSubscribers") or []
        alerts = [(_alert(entry["Notification"]), _addresses(entry.get("Subscribers"))) for entry in given]
        tags = {tag["Key"]: tag["Value"] for tag in params.get("ResourceTags") or []}
        self._budgets[name] = _Budget(definition, alerts, tags)
        return {}

    def _update(self, params: dict[str, Any]) -> dict[str, Any]:
        definition = params["NewBudget"]
        _check_limit(definition)
        self._find({"BudgetName": definition["BudgetName"]}).definition = definition
        return {}

    def _delete(self, params: dict[str, Any]) -> dict[str, Any]:
        self._find(params)
        del self._budgets[params["BudgetName"]]
        return {}

    def _create_notification(self, params: dict[str, Any]) -> dict[str, Any]:
        budget, alert = self._find(params), _alert(params["Notification"])
        if any(there == alert for there, _ in budget.alerts):
            raise AwsError("DuplicateRecordException", "The notification already exists.")
        if len(budget.alerts) >= _MOST_ALERTS:
            raise AwsError("CreationLimitExceededException", "A budget has ten notifications at most.")
        budget.alerts.append((alert, _addresses(params.get("Subscribers"))))
        return {}

    def _notifications(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"Notifications": [{**alert, "NotificationState": "OK"} for alert, _ in self._find(params).alerts]}

    def _create_subscriber(self, params: dict[str, Any]) -> dict[str, Any]:
        _, addresses = self._alert(params)
        (subscriber,) = _addresses([params["Subscriber"]])
        if subscriber in addresses:
            raise AwsError("DuplicateRecordException", "The subscriber already exists.")
        if len(addresses) >= _MOST_ADDRESSES:
            raise AwsError("CreationLimitExceededException", "A notification has ten subscribers at most.")
        addresses.append(subscriber)
        return {}

    def _tag(self, params: dict[str, Any]) -> dict[str, Any]:
        self._tagged(params).tags.update({tag["Key"]: tag["Value"] for tag in params.get("ResourceTags") or []})
        return {}

    def _untag(self, params: dict[str, Any]) -> dict[str, Any]:
        for key in params.get("ResourceTagKeys") or []:
            self._tagged(params).tags.pop(key, None)
        return {}

    def _list_tags(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"ResourceTags": [{"Key": k, "Value": v} for k, v in self._tagged(params).tags.items()]}

    def _tagged(self, params: dict[str, Any]) -> _Budget:
        head, _, name = str(params.get("ResourceARN")).partition(":budget/")
        if head != f"arn:aws:budgets::{emulator.ACCOUNT_ID}":
            raise AwsError("InvalidParameterException", "The ARN is not that of a budget.")
        return self._find({"BudgetName": name})

    def _find(self, params: dict[str, Any]) -> _Budget:
        name = params.get("BudgetName")
        if name not in self._budgets:
            raise AwsError("NotFoundException", f"Unable to get budget: {name} - the budget doesn't exist.")
        return self._budgets[name]

    def _alert(self, params: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, str]]]:
        wanted = _alert(params["Notification"])
        for alert, addresses in self._find(params).alerts:
            if alert == wanted:
                return alert, addresses
        raise AwsError("NotFoundException", "Unable to get notification - it doesn't exist.")

    def _shown(self, budget: _Budget) -> dict[str, Any]:
        nothing = {"Amount": "0.0", "Unit": "USD"}
        return {
            **budget.definition,
            "CalculatedSpend": {"ActualSpend": nothing, "ForecastedSpend": nothing},
            "LastUpdatedTime": self._now(),
        }


def _check_limit(definition: dict[str, Any]) -> None:
    amount = definition.get("BudgetLimit", {}).get("Amount", "")
    try:
        fits = float(amount) > 0
    except ValueError:
        fits = False
    if not fits:
        raise AwsError("InvalidParameterException", f"Error creating budget: the limit '{amount}' is no amount.")


def _alert(given: dict[str, Any]) -> dict[str, Any]:
    names = ("NotificationType", "ComparisonOperator", "Threshold")
    return {**{name: given[name] for name in names}, "ThresholdType": given.get("ThresholdType", "PERCENTAGE")}


def _addresses(given: list[dict[str, str]] | None) -> list[dict[str, str]]:
    if not given:
        raise AwsError("InvalidParameterException", "A notification needs a subscriber.")
    for subscriber in given:
        if subscriber["SubscriptionType"] == "EMAIL" and "@" not in subscriber["Address"]:
            raise AwsError("InvalidParameterException", f"'{subscriber['Address']}' is no e-mail address.")
    return list(given)
