"""A monthly budget over the whole account that writes to somebody: at 80 % spent, and when 90 % are forecast.

It warns and ends nothing: what ends instances are the four locks (docs/reliability.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gputx.aws import tags
from gputx.aws.part import Found, Part, Standing, unless_gone
from gputx.aws.session import AwsSession
from gputx.errors import GputxError

NAME = "gputx"
DEFAULT_DOLLARS = 100.0
_ALERTS = {"alert at 80 % spent": ("ACTUAL", 80.0), "alert at 90 % forecast": ("FORECASTED", 90.0)}
_LIMIT, _ADDRESS = "limit", "address"
_TOLD_BY_AWS = frozenset({"CalculatedSpend", "LastUpdatedTime", "HealthStatus"})


@dataclass(frozen=True)
class Budget(Part):
    """
    Attributes:
        dollars: USD a month; None where nobody chose: 100 for a new one, and one that is there stays as it is.
        email: where alerts go; None where nobody said.
    """

    kind: ClassVar[str] = "budget"
    everywhere: ClassVar[bool] = True
    account: str
    dollars: float | None = None
    email: str | None = None

    @property
    def unmade_because(self) -> str | None:
        return None if self.email else "it has nobody to write to: --email you@example.org"

    def look(self, session: AwsSession) -> Found:
        there = self._find(session)
        if there is None:
            return Found(Standing.ABSENT, f"{self.dollars or DEFAULT_DOLLARS:g} USD a month")
        limit = float(there.get("BudgetLimit", {}).get("Amount", 0))
        detail = f"{limit:g} USD a month"
        said = session.call("budgets", "ListTagsForResource", ResourceARN=self._arn)
        if tags.SETUP not in tags.read(said.get("ResourceTags")):
            return Found(
                Standing.FOREIGN,
                f"{detail}; a person made it (no tag {tags.SETUP})",
                ours=False,
                remedy=f"aws budgets tag-resource --resource-arn {self._arn} --resource-tags Key={tags.SETUP},Value=1",
            )
        written = self._addresses(session)
        lacking = [_LIMIT] if self.dollars not in {None, limit} else []
        lacking += [what for what, alert in _ALERTS.items() if alert not in written]
        if self.email and any(self.email not in addresses for addresses in written.values()):
            lacking.append(_ADDRESS)
        return Found(Standing.PARTLY if lacking else Standing.WHOLE, detail, tuple(lacking))

    def make(self, session: AwsSession, found: Found) -> None:
        stands = self._create(session, lambda: self._make_budget(session), found)
        if _LIMIT in stands.lacking:
            kept = {key: value for key, value in (self._find(session) or {}).items() if key not in _TOLD_BY_AWS}
            self._call(session, "UpdateBudget", NewBudget={**kept, "BudgetLimit": self._limit})
        written = self._addresses(session) if stands.lacking else {}
        for what in set(stands.lacking) & set(_ALERTS):
            someone = [self.email] if self.email else [a for addresses in written.values() for a in addresses]
            if not someone:
                raise GputxError("the budget has nobody to write to", hint="gputx setup --email you@example.org")
            self._call(
                session,
                "CreateNotification",
                BudgetName=NAME,
                Notification=_notification(*_ALERTS[what]),
                Subscribers=[_subscriber(address) for address in dict.fromkeys(someone)],
            )
        if _ADDRESS in stands.lacking and self.email:
            for alert, addresses in written.items():
                if self.email not in addresses:
                    self._call(
                        session,
                        "CreateSubscriber",
                        BudgetName=NAME,
                        Notification=_notification(*alert),
                        Subscriber=_subscriber(self.email),
                    )

    def unmake(self, session: AwsSession) -> None:
        unless_gone(lambda: self._call(session, "DeleteBudget", BudgetName=NAME))

    @property
    def _arn(self) -> str:
        return f"arn:aws:budgets::{self.account}:budget/{NAME}"

    @property
    def _limit(self) -> dict[str, str]:
        return {"Amount": f"{self.dollars or DEFAULT_DOLLARS:g}", "Unit": "USD"}

    def _make_budget(self, session: AwsSession) -> None:
        if self.email is None:
            raise GputxError("the budget has nobody to write to", hint="gputx setup --email you@example.org")
        alerts = [
            {"Notification": _notification(*alert), "Subscribers": [_subscriber(self.email)]}
            for alert in _ALERTS.values()
        ]
        self._call(
            session,
            "CreateBudget",
            Budget={"BudgetName": NAME, "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": self._limit},
            NotificationsWithSubscribers=alerts,
            ResourceTags=tags.listed(tags.MADE_BY_SETUP),
        )

    def _find(self, session: AwsSession) -> dict[str, Any] | None:
        answer = unless_gone(lambda: self._call(session, "DescribeBudget", BudgetName=NAME))
        return None if answer is None else dict(answer["Budget"])

    def _addresses(self, session: AwsSession) -> dict[tuple[str, float], list[str]]:
        """Who is written to at each of our two alerts that is there."""
        told = self._call(session, "DescribeNotificationsForBudget", BudgetName=NAME).get("Notifications", [])
        there = {(entry["NotificationType"], float(entry["Threshold"])) for entry in told}
        return {
            alert: [
                entry["Address"]
                for entry in self._call(
                    session,
                    "DescribeSubscribersForNotification",
                    BudgetName=NAME,
                    Notification=_notification(*alert),
                ).get("Subscribers", [])
            ]
            for alert in _ALERTS.values()
            if alert in there
        }

    def _call(self, session: AwsSession, operation: str, **parameters: Any) -> dict[str, Any]:
        return session.call("budgets", operation, AccountId=self.account, **parameters)


def _notification(kind: str, percent: float) -> dict[str, Any]:
    return {
        "NotificationType": kind,
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": percent,
        "ThresholdType": "PERCENTAGE",
    }


def _subscriber(address: str) -> dict[str, str]:
    return {"SubscriptionType": "EMAIL", "Address": address}
