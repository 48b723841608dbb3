"""What gputx needed of IAM while the tests ran, and what the policies of ``iam/`` say to it.

The sandbox writes needs down (gputx/sandbox/plane/needlog.py). Here they are held against the operator's policy: a need
that no statement allows is missing there; a statement's action that nothing needed is unused. ``iam/commands.json`` is
what was needed of which statement by which command, so it is written from a record of the whole suite:

    python -m tests.iam_record build/needs.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gputx import iam
from gputx.sandbox.plane.policy import allowing

VALUES = {"Account": "123456789012", "Bucket": "transcription-123456789012"}
"""Names in the emulated account."""

_BUCKETS = "arn:aws:s3:::"

Uses = dict[str, dict[str, set[str]]]
"""Command → statement → actions."""


@dataclass(frozen=True)
class Recorded:
    """One need, and the command that had it, empty where it did not say; or the role's policy that it was one of."""

    command: str
    action: str
    resource: str
    context: Mapping[str, Any]

    @property
    def policy(self) -> str:
        """The policy that has to allow it: that of a role, or the operator's."""
        return self.command if self.command in iam.ROLES else "operator"

    def __str__(self) -> str:
        seen = {key: value for key, value in self.context.items() if not key.startswith("aws:requesttag/")}
        return f"gputx {self.command or '…'}: {self.action} on {self.resource} with {json.dumps(seen, sort_keys=True)}"


@dataclass
class Held:
    """Needs against the operator's policy."""

    missing: list[Recorded] = field(default_factory=list)
    used: Uses = field(default_factory=dict)

    @property
    def in_all(self) -> dict[str, set[str]]:
        """Statement → actions, whichever command used them."""
        joined: dict[str, set[str]] = {}
        for statements in [used for command, used in self.used.items() if command not in iam.ROLES]:
            for sid, actions in statements.items():
                joined.setdefault(sid, set()).update(actions)
        return joined


def read(file: Path) -> list[Recorded]:
    """The needs of gputx in a record; none where nothing was recorded."""
    if not file.is_file():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    # Tests make roles of their own, which are no business of ours.
    ours = [line for line in lines if line.pop("role", iam.INSTANCE_ROLE) == iam.INSTANCE_ROLE]
    needs = [Recorded(**{"command": "instance", **line}) for line in ours]
    return [_configured(need) for need in needs if _of_gputx(need)]


def _of_gputx(need: Recorded) -> bool:
    """Not what a test fetched from an address that it had signed itself, nor a call that was no call of AWS's."""
    _, _, key = need.resource.partition("/")
    signed_by_a_test = not need.command and need.action == "s3:GetObject" and not key.startswith("temp/processing/")
    return not signed_by_a_test and " " not in need.action


def _configured(need: Recorded) -> Recorded:
    """Whoever configures another bucket has their policy filled in with it."""
    if not need.resource.startswith(_BUCKETS):
        return need
    _, slash, key = need.resource.removeprefix(_BUCKETS).partition("/")
    return replace(need, resource=f"{_BUCKETS}{VALUES['Bucket']}{slash}{key}")


def hold(needs: Iterable[Recorded], policy: Mapping[str, Any] | None = None) -> Held:
    """Hold needs against a policy (the operator's, and of roles their own). The first statement that allows a need is
    the one it used."""
    texts = {name: json.dumps(iam.document(name, VALUES)) for name in ("operator", *iam.ROLES)}
    if policy is not None:
        texts["operator"] = json.dumps(policy)
    held = Held()
    for need in needs:
        # The variables of AWS's that these policies have: the account of whoever asks, and who that is.
        text = texts[need.policy].replace("${aws:PrincipalAccount}", VALUES["Account"])
        text = text.replace("${aws:userid}", str(need.context.get("aws:userid")))
        statements = json.loads(text)["Statement"]
        allowed = allowing(statements, need.action, need.resource, need.context)
        if allowed:
            sids = held.used.setdefault(need.command, {})
            sids.setdefault(allowed[0]["Sid"], set()).add(need.action)
        else:
            held.missing.append(need)
    return held


def granted(policy: Mapping[str, Any]) -> dict[str, set[str]]:
    """Statement → actions that a policy grants."""
    return {statement["Sid"]: set(iam.several(statement["Action"])) for statement in policy["Statement"]}


def declared() -> dict[str, dict[str, dict[str, str]]]:
    """What the tests can't make gputx need: command → statement → action → why."""
    document: dict[str, Any] = json.loads((iam.directory() / "unseen.json").read_text(encoding="utf-8"))
    return document


def with_declared(used: Uses) -> dict[str, dict[str, list[str]]]:
    """The content of commands.json: what was used and what is declared, in order."""
    joined: Uses = {
        command: {s: set(a) for s, a in sids.items()}
        for command, sids in used.items()
        if command and command not in iam.ROLES
    }
    for command, sids in [each for each in declared().items() if each[0] not in iam.ROLES]:
        for sid, actions in sids.items():
            joined.setdefault(command, {}).setdefault(sid, set()).update(actions)
    order = list(granted(iam.template("operator")))
    return {
        command: {sid: sorted(joined[command][sid]) for sid in order if sid in joined[command]}
        for command in sorted(joined)
    }


def complaints(needs: Iterable[Recorded], *, whole: bool) -> list[str]:
    """What is wrong between a record and the policies, a line each.

    Args:
        whole: the record is of the whole suite, so that what is not in it is not used.
    """
    # The schedules' role acts inside AWS, unseen: no call of it is recorded. The sandbox holds each to its policy.
    held, known = hold(needs), {name: granted(iam.template(name)) for name in (*iam.commands(), "instance")}
    found = [f"{need.policy}'s policy does not allow it: {need}" for need in held.missing]
    used = {(command, sid, a) for command, sids in held.used.items() for sid, actions in sids.items() for a in actions}
    listed = {(command, sid, a) for command, sids in known.items() for sid, actions in sids.items() for a in actions}
    reasons = {
        (command, sid, a) for command, sids in declared().items() for sid, actions in sids.items() for a in actions
    }
    told = {which: f"{_said(which[0])}: {which[2]} of {which[1]}" for which in used | listed | reasons}
    found += [f"{told[w]} is used, and iam/commands.json does not say so" for w in sorted(used - listed) if w[0]]
    if whole:
        found += [
            f"{told[w]} is used by no test, and iam/unseen.json has no reason" for w in sorted(listed - used - reasons)
        ]
        found += [f"{told[w]} is used, and iam/unseen.json says that it is not" for w in sorted(used & reasons)]
    return found


def _said(command: str) -> str:
    return f"the role of {command}s" if command in iam.ROLES else f"`gputx {command}`"


def main(file: str) -> int:
    """Write commands.json anew from a record of the whole suite."""
    needs = read(Path(file))
    held = hold(needs)
    for need in held.missing:
        print(f"not allowed: {need}", file=sys.stderr)
    if held.missing or not needs:
        print("nothing was written: iam/operator.json comes first" if needs else f"no needs in {file}", file=sys.stderr)
        return 1
    target = iam.directory() / "commands.json"
    target.write_text(json.dumps(with_declared(held.used), indent=2) + "\n", encoding="utf-8")
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
