"""The rules a person or a test gives the sandbox: faults, missing capacity, interruptions, settings.

One rule is one line of text. docs/sandbox.md describes the syntax to people; this module is its grammar.

    [service:]Action [error=CODE [status=N] [message=TEXT]] [delay=5s] [drop=before|after]
                     [MATCH] [times=N] [skip=N]
    pool [MATCH] no-capacity [times=N]
    interrupt any|instance=ID [MATCH] [after=30s] [notice=120s] [times=N]
    quota spot=N | quota on-demand=N
    lag 500s | pending 30s | shutting-down 10s

MATCH is any of zone=, type=, market=spot|on-demand, instance=. Values may hold the wildcards of a shell.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

from gputx.errors import InputError
from gputx.units import parse_duration

MARKETS = ("spot", "on-demand")
MATCHERS = ("zone", "type", "market", "instance")
SETTINGS = ("lag", "pending", "shutting-down")
_SYNTAX_HINT = "`gputx sandbox rule --help` shows the syntax"

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
class NoCapacity(Rule):
    """A pool that has nothing to give."""


@dataclass
class Interruption(Rule):
    """A spot instance that AWS warns ``after`` seconds of running and takes back ``notice`` seconds later."""

    after: float = 0.0
    notice: float = 120.0


@dataclass
class Setting(Rule):
    """A figure of the account: a quota in vCPUs, or one of its delays in seconds."""

    name: str = ""
    value: float = 0.0


def parse(text: str) -> Rule:
    """Read one rule.

    Raises:
        InputError: the text is no rule; the message says which word is wrong.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"a quote is not closed in rule {text!r}", hint=_SYNTAX_HINT) from error
    if not words:
        raise InputError("a rule can't be empty", hint=_SYNTAX_HINT)
    head, rest = words[0], words[1:]
    if head == "pool":
        return _parse_pool(text, rest)
    if head == "interrupt":
        return _parse_interruption(text, rest)
    if head == "quota":
        return _parse_quota(text, rest)
    if head in SETTINGS:
        if len(rest) != 1:
            raise InputError(f"{head!r} takes one duration, as in `{head} 30s`", hint=_SYNTAX_HINT)
        return Setting(text, name=head, value=parse_duration(rest[0]))
    return _parse_fault(text, head, rest)


def _options(text: str, words: list[str], allowed: tuple[str, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in allowed:
            raise InputError(
                f"{word!r} is not understood in rule {text!r}",
                hint=f"allowed here: {', '.join(f'{name}=' for name in allowed)}",
            )
        if name in options:
            raise InputError(f"{name}= is given twice in rule {text!r}", hint=_SYNTAX_HINT)
        if not value:
            raise InputError(f"{name}= has no value in rule {text!r}", hint=_SYNTAX_HINT)
        options[name] = value
    if (market := options.get("market")) and market not in MARKETS:
        raise InputError(f"market is spot or on-demand, not {market!r}", hint=_SYNTAX_HINT)
    return options


def _number(options: dict[str, str], name: str) -> int | None:
    if name not in options:
        return None
    if not options[name].isdecimal():
        raise InputError(f"{name}= takes a whole number, not {options[name]!r}", hint=_SYNTAX_HINT)
    return int(options[name])


def _match(options: dict[str, str]) -> dict[str, str]:
    return {name: options[name] for name in MATCHERS if name in options}


def _parse_pool(text: str, words: list[str]) -> Rule:
    if "no-capacity" not in words:
        raise InputError("a pool rule says what is the matter with the pool: `pool … no-capacity`", hint=_SYNTAX_HINT)
    words = [word for word in words if word != "no-capacity"]
    options = _options(text, words, ("zone", "type", "market", "times"))
    return NoCapacity(text, match=_match(options), times=_number(options, "times"))


def _parse_interruption(text: str, words: list[str]) -> Rule:
    anyone = "any" in words
    options = _options(text, [w for w in words if w != "any"], (*MATCHERS, "after", "notice", "times"))
    if anyone == ("instance" in options):
        raise InputError("an interruption names its instance or says `any`", hint=_SYNTAX_HINT)
    rule = Interruption(text, match=_match(options), times=_number(options, "times") or 1)
    rule.after = parse_duration(options.get("after", "0s"))
    rule.notice = parse_duration(options.get("notice", "120s"))
    return rule


def _parse_quota(text: str, words: list[str]) -> Rule:
    options = _options(text, words, MARKETS)
    if len(options) != 1:
        raise InputError("a quota rule sets one quota, in vCPUs: `quota spot=0`", hint=_SYNTAX_HINT)
    ((market, _),) = options.items()
    return Setting(text, name=f"quota {market}", value=float(_number(options, market) or 0))


def _parse_fault(text: str, head: str, words: list[str]) -> Rule:
    service, _, action = head.rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9*?]+", action) or not re.fullmatch(r"[a-z0-9*-]*", service):
        raise InputError(f"{head!r} is not an API action", hint=_SYNTAX_HINT)
    allowed = ("error", "status", "message", "delay", "drop", *MATCHERS, "times", "skip")
    options = _options(text, words, allowed)
    if not options.keys() & {"error", "delay", "drop"}:
        raise InputError(f"rule {text!r} does nothing: give error=, delay= or drop=", hint=_SYNTAX_HINT)
    if "error" in options and "drop" in options:
        raise InputError("error= and drop= can't both be the answer", hint=_SYNTAX_HINT)
    if options.keys() & {"status", "message"} and "error" not in options:
        raise InputError("status= and message= belong to error=", hint=_SYNTAX_HINT)
    if options.get("drop", "before") not in ("before", "after"):
        raise InputError("drop= is before (nothing happens) or after (it happens, unanswered)", hint=_SYNTAX_HINT)
    fault = Fault(text, match=_match(options), times=_number(options, "times"))
    fault.skip = _number(options, "skip") or 0
    fault.service = service or "*"
    fault.action = action
    fault.error = options.get("error")
    fault.status = _number(options, "status") or default_status(fault.error or "")
    fault.message = options.get("message", f"The sandbox was told to answer {fault.error}.")
    fault.delay = parse_duration(options.get("delay", "0s"))
    fault.drop = options.get("drop")
    return fault
