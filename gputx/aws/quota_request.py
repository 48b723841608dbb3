"""Asking AWS for GPU vCPUs where it allows too few for a single instance, as it does in many new accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gputx.aws import quotas
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.part import Found, Part, Standing
from gputx.aws.session import AwsSession
from gputx.models import Market

ASKED_VCPUS = 8
"""Two g4dn.xlarge: a run beside a build. AWS grants little quickly and much slowly."""
_OPEN = frozenset({"PENDING", "CASE_OPENED"})


@dataclass(frozen=True)
class QuotaRequest(Part):
    """The quota of one market in one region.

    Attributes:
        needed: vCPUs of the smallest instance that may be launched.
    """

    kind: ClassVar[str] = "quota"
    market: Market
    needed: int

    @property
    def code(self) -> str:
        """Service Quotas' code."""
        return quotas.QUOTA_CODES[self.market]

    def look(self, session: AwsSession) -> Found:
        limit = quotas.allowed(session, self.market)
        if limit >= self.needed:
            return Found(Standing.WHOLE, f"{limit:.0f} vCPUs", ours=False)
        if (asked := self._asked(session)) is not None:
            return Found(
                Standing.ASKED,
                f"{limit:.0f} vCPUs now, {asked['DesiredValue']:.0f} asked for; AWS decides within minutes or days, "
                "and writes to the account's e-mail address",
                ours=False,
                remedy=f"aws service-quotas get-requested-service-quota-change --request-id {asked['Id']} "
                f"--region {session.region}",
            )
        return Found(Standing.ABSENT, f"{limit:.0f} vCPUs; one instance needs {self.needed}", ours=False)

    def make(self, session: AwsSession, found: Found) -> None:  # noqa: ARG002 - there is one thing to make
        """Ask, once: a request that is open already, from an answer that was lost, is enough."""
        wanted = float(max(ASKED_VCPUS, self.needed))
        try:
            session.call(
                "service-quotas",
                "RequestServiceQuotaIncrease",
                ServiceCode="ec2",
                QuotaCode=self.code,
                DesiredValue=wanted,
            )
        except AwsError as error:
            if error.meaning is not Meaning.EXISTS:
                raise

    def unmake(self, session: AwsSession) -> None:
        """Nothing: AWS takes no quota back, and it costs nothing."""

    def _asked(self, session: AwsSession) -> dict[str, Any] | None:
        """The open request, if there is one."""
        told = session.pages(
            "service-quotas",
            "ListRequestedServiceQuotaChangeHistoryByQuota",
            "RequestedQuotas",
            ServiceCode="ec2",
            QuotaCode=self.code,
        )
        return next((request for request in told if request["Status"] in _OPEN), None)
