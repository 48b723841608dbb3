"""What a role of the account lets a service do: whom it trusts, and which EC2 actions its policies allow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.need import Need
from gputx.sandbox.plane.policy import allowing, several


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
    return bool(allowing(entries, "sts:AssumeRole", role_arn, context))


def allows(role_arn: str, action: str, resource_arn: str, tags: Mapping[str, str]) -> bool:
    """Whether a role may do an action, such as ``ec2:TerminateInstances``, to a resource with these tags."""
    role = emulator.role(role_arn)
    if role is None:
        return False
    context = {f"{prefix}:resourcetag/{key.lower()}": value for key, value in tags.items() for prefix in ("aws", "ec2")}
    entries = [entry for document in emulator.policies_of(role) for entry in _statements(document)]
    return bool(allowing(entries, action, resource_arn, context))


def session_allows(role_arn: str, need: Need, *, user_id: str) -> bool:
    """Whether a role may do what IAM is asked about.

    Args:
        user_id: ``aws:userid`` of whoever has assumed it, which its policies may name as a variable.
    """
    role = emulator.role(role_arn)
    if role is None:
        return False
    variables = {"${aws:userid}": user_id, "${aws:PrincipalAccount}": emulator.ACCOUNT_ID}
    entries = []
    for document in emulator.policies_of(role):
        filled = document
        for variable, value in variables.items():
            filled = filled.replace(variable, value)
        entries += _statements(filled)
    return bool(allowing(entries, need.action, need.resource, {**need.context, "aws:userid": user_id}))


def _statements(document: str) -> list[dict[str, Any]]:
    return [entry for entry in several(json.loads(document).get("Statement")) if isinstance(entry, dict)]


def _services(entry: dict[str, Any]) -> list[Any]:
    principal = entry.get("Principal")
    return several(principal.get("Service")) if isinstance(principal, dict) else []
