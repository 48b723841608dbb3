"""What a role of the account lets a service do: whom it trusts, and which EC2 actions its policies allow.

As far as gputx's own roles go: actions and resources with wildcards, conditions on strings, ARNs and tags. A condition
that is not understood holds in no Allow, and a Deny holds whatever its conditions: no role is wider here than on AWS.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.matching import matches

_TAG = "resourcetag/"


def trusts(role_arn: str, service: str, source_arn: str) -> bool:
    """Whether there is such a role and a service may assume it.

    Args:
        service: such as ``scheduler.amazonaws.com``.
        source_arn: of what the service does it for; a trust policy may name it, or its account.
    """
    role = emulator.role(role_arn)
    if role is None:
        return False
    context = {"aws:sourcearn": source_arn, "aws:sourceaccount": emulator.ACCOUNT_ID}
    entries = [entry for entry in _statements(role.assume_role_policy_document) if service in _services(entry)]
    return _allowed(entries, "sts:AssumeRole", context)


def allows(role_arn: str, action: str, resource_arn: str, tags: Mapping[str, str]) -> bool:
    """Whether a role may do an action, such as ``ec2:TerminateInstances``, to a resource with these tags."""
    role = emulator.role(role_arn)
    if role is None:
        return False
    # The names of condition keys are not case-sensitive, those of tags in them included.
    context = {f"{prefix}:{_TAG}{key.lower()}": value for key, value in tags.items() for prefix in ("aws", "ec2")}
    entries = [entry for document in emulator.policies_of(role) for entry in _statements(document)]
    fitting = [
        entry
        for entry in entries
        if any(fnmatch.fnmatchcase(resource_arn, str(pattern)) for pattern in _several(entry.get("Resource")))
    ]
    return _allowed(fitting, action, context)


def _allowed(entries: list[dict[str, Any]], action: str, context: Mapping[str, str]) -> bool:
    effects = {
        entry.get("Effect")
        for entry in entries
        if _names(entry, action) and (entry.get("Effect") == "Deny" or _holds(entry.get("Condition") or {}, context))
    }
    return effects == {"Allow"}


def _statements(document: str) -> list[dict[str, Any]]:
    return [entry for entry in _several(json.loads(document).get("Statement")) if isinstance(entry, dict)]


def _services(entry: dict[str, Any]) -> list[Any]:
    principal = entry.get("Principal")
    return _several(principal.get("Service")) if isinstance(principal, dict) else []


def _names(entry: dict[str, Any], action: str) -> bool:
    patterns = [str(pattern).lower() for pattern in _several(entry.get("Action"))]
    return any(fnmatch.fnmatchcase(action.lower(), pattern) for pattern in patterns)


def _holds(conditions: dict[str, Any], context: Mapping[str, str]) -> bool:
    return all(
        _compares(operator, key.lower(), [str(value) for value in _several(wanted)], context)
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _compares(operator: str, key: str, wanted: list[str], context: Mapping[str, str]) -> bool:
    if key not in context and _TAG not in key:
        return False
    value = context.get(key)
    match operator:
        case "Null":
            return [str(value is None).lower()] == [said.lower() for said in wanted]
        case "StringEquals":
            return value in wanted
        case "StringLike" | "ArnLike" | "ArnEquals":
            return value is not None and matches([value], wanted)
    return False


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
