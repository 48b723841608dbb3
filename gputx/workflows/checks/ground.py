"""What all checks stand on: the account, what a run would ask of it, and look-ups that several of them share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from gputx.aws import identity, network, pools, quotas
from gputx.aws.session import AwsSession
from gputx.lease.journal import Journal
from gputx.models import Market
from gputx.workflows.checks.finding import Remedies

T = TypeVar("T")


@dataclass(frozen=True)
class Wishes:
    """What a run would be launched with; the names are those of the settings.

    Attributes:
        bucket: None for ``transcription-<account id>``, "none" for no S3.
        image: None for the account's newest.
        subnet: None for those of the default VPC.
        grace: seconds; what counts as a sign of life of a run elsewhere.
    """

    instance_types: tuple[str, ...]
    zones: tuple[str, ...]
    markets: tuple[Market, ...]
    bucket: str | None
    image: str | None
    subnet: str | None
    cidrs: tuple[str, ...]
    instance_role: str
    grace: float


class Ground:
    """One account in one region. What is asked here is asked once, and who asks second waits for the first."""

    def __init__(self, session: AwsSession, journal: Journal, wishes: Wishes, remedies: Remedies) -> None:
        self.session = session
        self.journal = journal
        self.wishes = wishes
        self.remedies = remedies
        self._lock = threading.Lock()
        self._asked: dict[str, Future[Any]] = {}

    def who(self) -> identity.Identity:
        """Raises GputxError, as all below do."""
        return self._once("who", lambda: identity.whoami(self.session))

    def pools(self) -> pools.Survey:
        """All pools of the types wanted, in every zone and both markets."""
        types, markets = self.wishes.instance_types, (Market.SPOT, Market.ON_DEMAND)
        return self._once("pools", lambda: pools.survey(self.session, types=types, zones=(), markets=markets))

    def network(self) -> network.Network:
        return self._once("network", lambda: network.find_network(self.session, self.wishes.subnet))

    def usable(self) -> tuple[str, ...]:
        """Zones that are wanted, sell a wanted type and have a subnet of ours, sorted."""
        sold = {pool.zone for pool in self.pools().pools}
        wanted = sold & set(self.wishes.zones) if self.wishes.zones else sold
        return tuple(sorted(wanted & self.network().subnets.keys()))

    def vcpus(self) -> dict[str, int]:
        """vCPUs of the wanted types that the G and VT quotas are about."""
        types = [name for name in self.wishes.instance_types if quotas.counts(name)]
        return self._once("vcpus", lambda: quotas.vcpus(self.session, types))

    def used(self) -> dict[Market, int]:
        """vCPUs that run, by market."""
        return self._once("used", lambda: quotas.used(self.session))

    def allowed(self, market: Market) -> float:
        """vCPUs that may run."""
        return self._once(f"allowed {market}", lambda: quotas.allowed(self.session, market))

    def _once(self, name: str, ask: Callable[[], T]) -> T:
        with self._lock:
            first = name not in self._asked
            answer: Future[T] = self._asked.setdefault(name, Future())
        if first:
            try:
                answer.set_result(ask())
            except BaseException as error:
                answer.set_exception(error)
                raise
        return answer.result()
