"""The policies of ``iam/``: what they may and may not grant, how they are filled in, and what ``gputx iam`` prints."""

from __future__ import annotations

import json
import re
from typing import Any

import iam_record
import pytest
from click.testing import CliRunner

from gputx import iam
from gputx.cli.group import COMMANDS, cli
from gputx.errors import InputError

VALUES = {"Account": "123456789012", "Bucket": "transcription-123456789012"}
PARTS = [*iam.PEOPLE, *iam.ROLES, *iam.commands()]


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = iam.document(name, VALUES)["Statement"]
    return found


def conditions(statement: dict[str, Any]) -> dict[str, Any]:
    """Key → value, whatever the operator."""
    return {key: value for keys in statement.get("Condition", {}).values() for key, value in keys.items()}


@pytest.mark.parametrize("name", iam.names())
def test_a_policy_is_filled_in_and_its_statements_have_names_of_their_own(name: str) -> None:
    policy = iam.document(name, VALUES)
    # What is left are variables of AWS's own, which have a colon.
    assert all(":" in found for found in re.findall(r"\$\{([^}]*)\}", json.dumps(policy)))
    # Those that people attach go without: a name counts among the characters that a policy may have.
    sids = [statement.get("Sid") for statement in policy["Statement"]]
    assert sids
    assert set(sids) == {None} if name in iam.PEOPLE else None not in sids and len(sids) == len(set(sids))
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}


@pytest.mark.parametrize("name", iam.names())
def test_no_action_has_a_wildcard(name: str) -> None:
    actions = [action for statement in statements(name) for action in iam.several(statement["Action"])]
    assert not [action for action in actions if "*" in action or "?" in action]


@pytest.mark.parametrize("name", iam.names())
def test_nothing_can_be_ended_launched_or_removed_that_is_not_ours(name: str) -> None:
    ending = {"TerminateInstances", "DeleteVolume", "DeleteFleets", "DeregisterImage", "DeleteSnapshot", "CreateImage"}
    ending |= {"DeleteSecurityGroup", "DeleteNetworkInterface", "CancelSpotInstanceRequests", "DeleteTags"}
    for statement in statements(name):
        if {action.partition(":")[2] for action in iam.several(statement["Action"])} & ending:
            tag = {"aws:ResourceTag/gputx:run", "aws:RequestTag/gputx:run"}
            assert tag & conditions(statement).keys(), statement["Sid"]


def test_an_instance_may_not_terminate_or_launch_anything() -> None:
    granted = {action for actions in iam_record.granted(iam.template("instance")).values() for action in actions}
    objects = {"s3:GetObject", "s3:PutObject"}
    assert granted == objects | {"cloudwatch:PutMetricData", "logs:CreateLogStream", "logs:PutLogEvents"}


def test_an_instance_has_to_do_with_objects_under_its_own_name_only() -> None:
    (named,) = [each["Resource"] for each in statements("instance") if "s3:GetObject" in each["Action"]]
    assert named == "arn:aws:s3:::transcription-123456789012/results/*/${aws:userid}/*"


def test_a_schedule_may_end_instances_of_runs_and_do_nothing_else() -> None:
    (statement,) = statements("scheduler")
    assert statement["Action"] == "ec2:TerminateInstances"
    assert conditions(statement) == {"aws:ResourceTag/gputx:run": "*"}


def test_a_role_is_passed_to_one_service_only() -> None:
    passed = {
        (statement["Resource"].rpartition("/")[2], conditions(statement)["iam:PassedToService"])
        for statement in statements("operator")
        if "iam:PassRole" in iam.several(statement["Action"])
    }
    assert passed == {
        ("gputx-scheduler", "scheduler.amazonaws.com"),
        ("transcription-ec2-role", "ec2.amazonaws.com"),
    }


def test_a_launch_is_allowed_resource_by_resource() -> None:
    """An untagged instance, an unencrypted disk or the old metadata service can't be had with these permissions."""
    launches = [s for s in statements("operator") if "ec2:RunInstances" in iam.several(s["Action"])]
    by_kind = {
        kind.partition("/")[0]: statement
        for statement in launches
        for kind in [resource.rpartition(":")[2] for resource in iam.several(statement["Resource"])]
    }
    assert "*" not in by_kind
    assert {"image", "instance", "volume", "network-interface", "security-group", "subnet", "key-pair"} <= set(by_kind)
    assert conditions(by_kind["instance"])["ec2:MetadataHttpTokens"] == "required"
    assert conditions(by_kind["volume"])["ec2:Encrypted"] == "true"
    for kind in ("instance", "volume", "network-interface"):
        assert conditions(by_kind[kind])["aws:RequestTag/gputx:run"] == "*"


@pytest.mark.parametrize("name", iam.PEOPLE)
def test_a_part_fits_into_one_managed_policy(name: str) -> None:
    assert iam.characters(iam.document(name, VALUES)) <= iam.MANAGED_POLICY_CHARACTERS


def test_the_operator_has_what_commands_use_and_no_more() -> None:
    operator = iam_record.granted(iam.template("operator"))
    together: dict[str, set[str]] = {}
    for command in iam.commands():
        for sid, actions in iam_record.granted(iam.template(command)).items():
            together.setdefault(sid, set()).update(actions)
    assert together == operator


def test_what_is_declared_as_not_seen_has_a_reason_and_is_granted() -> None:
    for command, sids in iam_record.declared().items():
        granted = iam_record.granted(iam.template(command))
        for sid, actions in sids.items():
            assert actions.keys() <= granted[sid], (command, sid)
            assert all(len(reason.split()) > 3 for reason in actions.values()), (command, sid)


def test_only_commands_that_exist_have_policies() -> None:
    assert set(iam.commands()) <= set(COMMANDS)
    assert {command for part in iam.PEOPLE.values() for command in part} == set(iam.commands())


def test_a_missing_value_and_an_unknown_name_are_said() -> None:
    with pytest.raises(InputError, match="Account"):
        iam.document("scheduler", {})
    with pytest.raises(InputError, match="no policy 'rum'"):
        iam.document("rum", VALUES)
    with pytest.raises(InputError, match="no role"):
        iam.trust("operator", VALUES)


def test_a_value_can_not_break_out_of_its_string() -> None:
    values = {**VALUES, "Bucket": 'x","Action":"*'}
    assert iam.document("instance", values)["Statement"][0]["Action"] == ["s3:GetObject", "s3:PutObject"]


def show(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["iam", "show", *arguments])


@pytest.mark.parametrize("name", PARTS)
def test_show_prints_a_policy_for_an_account(name: str) -> None:
    shown = show(name, "--account", "999999999999", "--bucket", "mine")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout) == iam.document(name, {"Account": "999999999999", "Bucket": "mine"})


def test_show_without_a_name_prints_the_operator_s_and_says_when_it_is_too_large() -> None:
    shown = show("--account", "123456789012")
    assert json.loads(shown.stdout) == iam.document("operator", VALUES)
    too_large = iam.characters(iam.document("operator", VALUES)) > iam.MANAGED_POLICY_CHARACTERS
    assert ("note:" in shown.stderr) == too_large


def test_show_narrows_to_a_region_that_is_asked_for() -> None:
    shown = json.loads(show("scheduler", "--account", "123456789012", "--region", "eu-west-1").stdout)
    assert shown["Statement"][0]["Resource"] == "arn:aws:ec2:eu-west-1:123456789012:instance/*"


def test_show_knows_another_instance_role() -> None:
    shown = show("setup", "--account", "123456789012", "--instance-role", "mine").stdout
    assert "role/mine" in shown
    assert "transcription-ec2-role" not in shown


def test_show_can_leave_the_placeholders_in() -> None:
    assert json.loads(show("instance", "--template").stdout) == iam.template("instance")
    assert json.loads(show("instance", "--template", "--trust").stdout) == iam.trust_template("instance")


@pytest.mark.parametrize("account", ["12345678901", "abcdefghijkl", ""])
def test_an_account_that_is_none_is_refused(account: str) -> None:
    shown = show("run", "--account", account)
    assert shown.exit_code == 2
    assert "twelve digits" in shown.output


def test_list_names_every_policy() -> None:
    listed = json.loads(CliRunner().invoke(cli, ["iam", "list", "--json"]).stdout)
    assert tuple(row["name"] for row in listed["policies"]) == iam.names()
