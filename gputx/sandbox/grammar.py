"""The grammar of rules: one rule is one line of text. docs/sandbox.md describes it to people.

    [service:]Action [error=CODE [status=N] [message=TEXT]] [delay=5s] [drop=before|after]
                     [MATCH] [times=N] [skip=N]
    [service:]Action signal=NAME[,NAME...] pid=N at=before|after|response [gap=0.2s] [delay=5s]
                     [MATCH] [times=N] [skip=N]
    no-user-data [MATCH] [times=N] [skip=N]
    pool [MATCH] no-capacity [times=N]
    interrupt any|instance=ID [MATCH] [after=30s] [notice=120s] [times=N]
    quota spot=N | quota on-demand=N
    lag 500s | pending 30s | shutting-down 10s | imaging 60s
    bucket NAME taken

MATCH is any of zone=, type=, market=spot|on-demand, instance=. Values may hold the wildcards of a shell.
"""

from __future__ import annotations

import re
import shlex
import signal

from gputx.errors import InputError
from gputx.sandbox.rules import (
    Fault,
    Interruption,
    NoCapacity,
    NoUserData,
    Rule,
    Setting,
    Signal,
    Taken,
    default_status,
)
from gputx.units import parse_duration

MARKETS = ("spot", "on-demand")
MATCHERS = ("zone", "type", "market", "instance")
SETTINGS = ("lag", "pending", "shutting-down", "imaging")
PHASES = ("before", "after", "response")
_FIRST_PID = 2
_SYNTAX_HINT = "`gputx sandbox rule --help` shows the syntax"


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
    if head == "no-user-data":
        options = _options(text, rest, (*MATCHERS, "times", "skip"))
        times, skip = _number(options, "times"), _number(options, "skip") or 0
        return NoUserData(text, match=_match(options), times=times, skip=skip)
    if head in _PARSERS:
        return _PARSERS[head](text, rest)
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


def _parse_bucket(text: str, words: list[str]) -> Rule:
    if len(words) != 2 or words[1] != "taken":
        raise InputError("a bucket rule is `bucket NAME taken`: another account has that name", hint=_SYNTAX_HINT)
    return Taken(text, bucket=words[0])


_PARSERS = {"pool": _parse_pool, "interrupt": _parse_interruption, "quota": _parse_quota, "bucket": _parse_bucket}


def _parse_fault(text: str, head: str, words: list[str]) -> Rule:
    service, _, action = head.rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9*?]+", action) or not re.fullmatch(r"[a-z0-9*-]*", service):
        raise InputError(f"{head!r} is not an API action", hint=_SYNTAX_HINT)
    if any(word.startswith("signal=") for word in words):
        return _parse_signal(text, service or "*", action, words)
    allowed = ("error", "status", "message", "delay", "drop", *MATCHERS, "times", "skip")
    options = _options(text, words, allowed)
    if not options.keys() & {"error", "delay", "drop"}:
        raise InputError(f"rule {text!r} does nothing: give error=, delay=, drop= or signal=", hint=_SYNTAX_HINT)
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


def _parse_signal(text: str, service: str, action: str, words: list[str]) -> Rule:
    options = _options(text, words, ("signal", "pid", "at", "gap", "delay", *MATCHERS, "times", "skip"))
    if not {"pid", "at"} <= options.keys():
        raise InputError("signal= wants to know whom and when: give pid= and at=", hint=_SYNTAX_HINT)
    if options["at"] not in PHASES:
        raise InputError(f"at= is {', '.join(PHASES)}, not {options['at']!r}", hint=_SYNTAX_HINT)
    pid = _number(options, "pid") or 0
    if pid < _FIRST_PID:
        # 0 is every process of a group, and 1 starts all others: never what a rule is about.
        raise InputError(f"pid={pid} is no client's", hint=_SYNTAX_HINT)
    rule = Signal(text, match=_match(options), times=_number(options, "times"), skip=_number(options, "skip") or 0)
    rule.service, rule.action, rule.pid, rule.at = service, action, pid, options["at"]
    rule.signals = tuple(_signal(name) for name in options["signal"].split(","))
    rule.gap = parse_duration(options.get("gap", "0.2s"))
    rule.delay = parse_duration(options.get("delay", "0s"))
    return rule


def _signal(name: str) -> signal.Signals:
    try:
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except KeyError as error:
        raise InputError(f"there is no signal {name!r}", hint="as in signal=INT or signal=TERM,KILL") from error
