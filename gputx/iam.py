"""The IAM policies gputx needs, as documents: data of ``iam/``, with the names of an account filled in.

``operator.json`` is what a person needs for all commands, and ``commands.json`` says which of its statements and
actions each command uses; the policy of a command is that part of it. ``instance`` and ``scheduler`` are the roles of
instances and of schedules, and ``trust/`` is who may assume them. docs/iam.md explains every statement.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gputx.errors import InputError

INSTANCE_ROLE = "transcription-ec2-role"
SCHEDULE_ROLE = "gputx-scheduler"
DEFAULTS: Mapping[str, str] = {"Region": "*", "InstanceRole": INSTANCE_ROLE, "ScheduleRole": SCHEDULE_ROLE}
"""Values of placeholders that need not be given. IAM has no regions, and people use more than one."""

ROLES = ("instance", "scheduler")
PEOPLE: Mapping[str, tuple[str, ...]] = {
    "user": ("run", "api", "bench", "ps", "reap"),
    "baker": ("build-ami", "ami"),
    "owner": ("setup", "teardown", "doctor"),
}
"""Parts that one person may have without the others, by the commands they are for; ``operator`` has all."""

MANAGED_POLICY_CHARACTERS = 6144
"""What IAM takes as a managed policy, white space not counted (IAM and STS quotas)."""

# AWS's own policy variables have a colon in them, ours have none.
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z]+)\}")


def names() -> tuple[str, ...]:
    """Everything :func:`document` knows: people, roles, commands."""
    return ("operator", *PEOPLE, *ROLES, *commands())


def commands() -> tuple[str, ...]:
    """The commands of gputx that ask anything of an account."""
    return tuple(_read("commands"))


def document(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """A policy, filled in.

    Args:
        name: ``operator``, a part of it (``user``, ``baker``, ``owner``), a role (``instance``, ``scheduler``) or a
            command (``run``).
        values: by placeholder: ``Account`` (twelve digits), ``Bucket``, and what of ``DEFAULTS`` is to be otherwise.

    Raises:
        InputError: there is no policy of that name, or a value is missing.
    """
    return fill(template(name), values)


def trust(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Who may assume a role: its trust policy, filled in.

    Raises:
        InputError: there is no role of that name, or a value is missing.
    """
    return fill(trust_template(name), values)


def template(name: str) -> dict[str, Any]:
    """A policy with its placeholders. Raises InputError."""
    if name in ROLES:
        return copy.deepcopy(_read(name))
    if name == "operator":
        return copy.deepcopy(_read("operator"))
    if name in PEOPLE:
        return _nameless(_part(PEOPLE[name]))
    if name in commands():
        return _part([name])
    raise InputError(f"there is no policy {name!r}", hint=f"one of: {', '.join(names())}")


def trust_template(name: str) -> dict[str, Any]:
    """A trust policy with its placeholders. Raises InputError."""
    if name not in ROLES:
        raise InputError(f"{name!r} is no role that is assumed", hint=f"one of: {', '.join(ROLES)}")
    return copy.deepcopy(_read(f"trust/{name}"))


def fill(policy: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Put values into a template.

    Raises:
        InputError: a placeholder of it has no value.
    """
    given = {**DEFAULTS, **values}

    def value(found: re.Match[str]) -> str:
        if found[1] not in given:
            raise InputError(f"the policy needs a value for {found[1]}")
        # The text is JSON: a value must not end its string.
        return json.dumps(given[found[1]])[1:-1]

    filled: dict[str, Any] = json.loads(_PLACEHOLDER.sub(value, json.dumps(policy)))
    return filled


def characters(policy: Mapping[str, Any]) -> int:
    """The size of a policy as IAM counts it: without white space."""
    return len(re.sub(r"\s", "", json.dumps(policy, ensure_ascii=False)))


def _part(wanted: Iterable[str]) -> dict[str, Any]:
    """The statements of the operator's policy that commands need, with those of their actions."""
    needed: dict[str, set[str]] = {}
    for command in wanted:
        for sid, actions in _read("commands").get(command, {}).items():
            needed.setdefault(sid, set()).update(actions)
    operator = template("operator")
    return {
        **operator,
        "Statement": [_narrowed(s, needed[s["Sid"]]) for s in operator["Statement"] if s["Sid"] in needed],
    }


def _nameless(policy: dict[str, Any]) -> dict[str, Any]:
    """Without the names of its statements: they count among the characters that a managed policy may have."""
    statements = [{key: value for key, value in s.items() if key != "Sid"} for s in policy["Statement"]]
    return {**policy, "Statement": statements}


def _narrowed(statement: dict[str, Any], actions: set[str]) -> dict[str, Any]:
    kept = [action for action in several(statement["Action"]) if action in actions]
    return {**statement, "Action": kept[0] if len(kept) == 1 else kept}


def several(value: Any) -> list[Any]:
    """What IAM lets one write as one or as a list, as a list."""
    return list(value) if isinstance(value, list) else [value]


@cache
def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory() / f"{name}.json").read_text(encoding="utf-8"))
    return document


def directory() -> Path:
    """Where the documents are: beside this file in an installed package, else in the checkout."""
    packaged = Path(__file__).with_name("policies")
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "iam"
