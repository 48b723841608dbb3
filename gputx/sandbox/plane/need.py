"""What IAM would be asked for a call: actions, each on a resource and with what conditions can see.

Source: the Service Authorization Reference, for the calls that gputx makes. What is not in the tables here needs the
action of its own name on every resource: a policy that is narrower than that then seems to refuse it, and somebody
has to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.policy import Value

EVERYTHING = "*"


@dataclass(frozen=True)
class Need:
    """One question to IAM.

    Attributes:
        action: such as ``ec2:RunInstances``.
        resource: an ARN, or ``*`` for an action that is of no resource. What is only being made is ``…/*``.
        context: condition keys in lower case; those a request always has are left out.
    """

    action: str
    resource: str = EVERYTHING
    context: Mapping[str, Value] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"action": self.action, "resource": self.resource, "context": dict(self.context)}


def arn(service: str, region: str, rest: str, account: str = emulator.ACCOUNT_ID) -> str:
    """An ARN in this account."""
    return f"arn:aws:{service}:{region}:{account}:{rest}"


def tags_in_context(kind: str, tags: Mapping[str, str]) -> dict[str, Value]:
    """Tags as conditions see them.

    Args:
        kind: ``request``, of a request that gives them, or ``resource``, of a thing that has them.
    """
    seen: dict[str, Value] = {f"aws:{kind}tag/{key.lower()}": value for key, value in tags.items()}
    if kind == "request" and tags:
        seen["aws:tagkeys"] = sorted(tags)
    return seen


def pass_role(role_arn: str, service: str) -> Need:
    """Who hands a role to a service needs a permission of its own for it."""
    return Need("iam:PassRole", role_arn, {"iam:passedtoservice": service})
