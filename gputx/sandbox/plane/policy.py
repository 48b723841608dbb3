"""What an IAM policy says to a request: which of its statements allow it.

As far as gputx's own policies go: actions and resources with wildcards, conditions on strings, ARNs, tags and truth. A
condition that is not understood holds in no Allow, and a Deny holds whatever its conditions: nothing is wider here than
on AWS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gputx.sandbox.plane.matching import matches

Value = str | list[str]
Context = Mapping[str, Value]
"""Condition keys, in lower case as their names are not case-sensitive, those of tags in them included; to values."""

_FOR_ALL, _FOR_ANY, _IF_EXISTS = "ForAllValues:", "ForAnyValue:", "IfExists"


def allowing(
    statements: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context
) -> list[Mapping[str, Any]]:
    """The statements that allow this; none where one denies it.

    Args:
        action: such as ``ec2:TerminateInstances``.
        resource: an ARN; ``*`` for an action that is of no resource.
    """
    fitting = [s for s in statements if _fits(s, "Action", action.lower()) and _fits(s, "Resource", resource)]
    if any(statement.get("Effect") == "Deny" for statement in fitting):
        return []
    return [s for s in fitting if s.get("Effect") == "Allow" and _holds(s.get("Condition") or {}, context)]


def several(value: Any) -> list[Any]:
    """What a policy may give as one or as a list, as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _fits(statement: Mapping[str, Any], element: str, value: str) -> bool:
    # A trust policy says nothing of a resource: it is the role's own.
    if element == "Resource" and "Principal" in statement:
        return True
    patterns = [str(pattern) for pattern in several(statement.get(element))]
    return matches([value], [pattern.lower() for pattern in patterns] if element == "Action" else patterns)


def _holds(conditions: Mapping[str, Any], context: Context) -> bool:
    return all(
        _compares(operator, context.get(key.lower()), [str(value) for value in several(wanted)])
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _compares(operator: str, has: Value | None, wanted: list[str]) -> bool:
    if operator == "Null":
        return [str(not has).lower()] == [said.lower() for said in wanted]
    if operator.startswith(_FOR_ALL):
        # True of no values, too, as on AWS.
        return all(_compare(operator.removeprefix(_FOR_ALL), value, wanted) for value in several(has))
    if operator.startswith(_FOR_ANY):
        return any(_compare(operator.removeprefix(_FOR_ANY), value, wanted) for value in several(has))
    if has is None:
        return operator.endswith(_IF_EXISTS)
    return isinstance(has, str) and _compare(operator.removesuffix(_IF_EXISTS), has, wanted)


def _compare(operator: str, value: str, wanted: list[str]) -> bool:
    match operator:
        case "StringEquals":
            return value in wanted
        case "StringLike" | "ArnLike" | "ArnEquals":
            return matches([value], wanted)
        case "Bool":
            return value.lower() in [said.lower() for said in wanted]
    return False
