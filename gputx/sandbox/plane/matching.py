"""Filters of Describe calls: EC2's wildcards, and which filters there are.

What AWS has and the sandbox does not answer is said to be not emulated; anything else is invalid, as on AWS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from gputx.sandbox.plane.wire import AwsError, NotEmulated

_WILDCARDS = {"*": ".*", "?": "."}


def matches(values: Iterable[object], patterns: Iterable[str]) -> bool:
    """Whether any value fits any pattern: ``*`` and ``?`` are wildcards, and a backslash takes their meaning.

    Nothing else is special and case counts, unlike in a shell's patterns.
    """
    compiled = [_compile(pattern) for pattern in patterns]
    return any(pattern.fullmatch(as_text(value)) for value in values for pattern in compiled)


def as_text(value: object) -> str:
    """A value as a filter has it: ``true``, and times as ``2026-01-31T12:00:00.000Z``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return str(value)


def _compile(pattern: str) -> re.Pattern[str]:
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    return re.compile(
        "".join(_WILDCARDS.get(piece) or re.escape(piece[1:] if len(piece) > 1 else piece) for piece in pieces),
        re.DOTALL,
    )


def passes(
    action: str, name: str, patterns: list[str], known: Mapping[str, Callable[[], Iterable[object]]], more: str
) -> bool:
    """Whether one filter lets a resource through.

    Args:
        known: filter → what the resource has there.
        more: a regular expression of the filters that AWS has beside these.

    Raises:
        AwsError: NotEmulated, or InvalidParameterValue where AWS has no such filter.
    """
    if name in known:
        return matches(known[name](), patterns)
    if re.fullmatch(more, name):
        raise NotEmulated("ec2", action, f"with the filter {name}")
    raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")


def by_tags(name: str, patterns: list[str], tags: Mapping[str, str]) -> bool | None:
    """What a filter on tags says; None if it is another filter."""
    if name == "tag-key":
        return matches(tags, patterns)
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return key in tags and matches([tags[key]], patterns)
    return None
