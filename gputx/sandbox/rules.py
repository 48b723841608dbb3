"""The rules a person or a test gives the sandbox: faults, signals, missing capacity, interruptions, settings."""

from __future__ import annotations

import fnmatch
import signal
from dataclasses import dataclass, field
from typing import Any

# HTTP status by error code, where AWS uses another than 400. The first five are why a client may not judge by
# status: botocore takes any 500 for a passing trouble and tries again.
_STATUS = {
    "InsufficientInstanceCapacity": 500,
    "InsufficientHostCapacity": 500,
    "InsufficientCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "EC2ThrottledException": 503,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "Unavailable": 503,
    "AccessDenied": 403,
    "AuthFailure": 403,
    "ExpiredToken": 403,
    "InvalidClientTokenId": 403,
    "UnauthorizedOperation": 403,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "PreconditionFailed": 412,
}


def default_status(code: str) -> int:
    """The HTTP status AWS sends with an error code."""
    return _STATUS.get(code, 400)


@dataclass
class Rule:
    """What all rules share.

    Attributes:
        match: facet name → shell pattern; a facet that a call does not have matches nothing.
        times: hits left before the rule is spent; None for ever.
        skip: matching occasions still to be let through first.
    """

    text: str
    match: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    skip: int = 0
    id: str = ""
    hits: int = 0

    def fits(self, facets: dict[str, str]) -> bool:
        return all(fnmatch.fnmatchcase(facets.get(name, ""), want) for name, want in self.match.items())

    def claim(self) -> bool:
        """Count one matching occasion; True if the rule takes effect on it."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.id, "text": self.text, "hits": self.hits, "times": self.times}


@dataclass
class Fault(Rule):
    """A call that fails, is late, or loses its connection."""

    service: str = "*"
    action: str = "*"
    error: str | None = None
    status: int = 400
    message: str = ""
    delay: float = 0.0
    drop: str | None = None


@dataclass
class Signal(Rule):
    """A signal that the client gets at a call of its own.

    Attributes:
        signals: sent in order, ``gap`` real seconds apart; the first one at the call.
        at: ``before`` the call has any effect, ``after`` it has, or once its ``response`` is on the wire.
        reached: one entry for each hit, with what was in the account then; see docs/sandbox.md.
    """

    service: str = "*"
    action: str = "*"
    signals: tuple[signal.Signals, ...] = ()
    pid: int = 0
    at: str = "before"
    gap: float = 0.2
    delay: float = 0.0
    reached: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kills(self) -> bool:
        """Whether nobody is left to answer once the first signal was sent."""
        return self.signals[0] is signal.SIGKILL

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "reached": list(self.reached)}


@dataclass
class NoUserData(Rule):
    """Instances that boot as if they had been given no user-data."""


@dataclass
class NoCapacity(Rule):
    """A pool that has nothing to give."""


@dataclass
class Interruption(Rule):
    """A spot instance that AWS warns ``after`` seconds of running and takes back ``notice`` seconds later."""

    after: float = 0.0
    notice: float = 120.0


@dataclass
class Taken(Rule):
    """A bucket's name that another account has."""

    bucket: str = ""


@dataclass
class Setting(Rule):
    """A figure of the account: a quota in vCPUs, or one of its delays in seconds."""

    name: str = ""
    value: float = 0.0
