"""What a policy says to a request, and that holding a record against it notices what is missing and what is unused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import iam_record
import pytest
from iam_record import Recorded

from gputx.sandbox.plane.policy import allowing

INSTANCE = "arn:aws:ec2:eu-north-1:123456789012:instance/i-0123456789abcdef0"
TAGGED = {"aws:resourcetag/gputx:run": "r1"}


def statement(**changes: Any) -> dict[str, Any]:
    whole = {
        "Sid": "S",
        "Effect": "Allow",
        "Action": "ec2:TerminateInstances",
        "Resource": "arn:aws:ec2:*:*:instance/*",
    }
    return {**whole, **changes}


def allowed(entry: dict[str, Any], context: dict[str, Any] | None = None, *more: dict[str, Any]) -> bool:
    return bool(allowing([entry, *more], "ec2:TerminateInstances", INSTANCE, context or {}))


def test_action_and_resource_have_to_fit() -> None:
    assert allowed(statement())
    assert allowed(statement(Action=["EC2:terminateinstances"]))
    assert allowed(statement(Action="ec2:Term*"))
    assert not allowed(statement(Action="ec2:RunInstances"))
    assert not allowed(statement(Resource="arn:aws:ec2:*:*:volume/*"))
    assert not allowed(statement(Resource="arn:aws:ec2:us-east-1:*:instance/*"))


def test_a_resource_is_no_pattern_of_a_shell() -> None:
    assert not allowed(statement(Resource="arn:aws:ec2:*:*:instance/[i]-*"))


def test_a_deny_wins_whatever_its_conditions() -> None:
    deny = statement(Effect="Deny", Condition={"StringEquals": {"aws:PrincipalTag/x": "never"}})
    assert not allowed(statement(), {}, deny)


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringLike": {"aws:ResourceTag/gputx:run": "*"}}, TAGGED, True),
        ({"StringLike": {"AWS:resourcetag/GPUTX:run": "r?"}}, TAGGED, True),
        ({"StringLike": {"aws:ResourceTag/gputx:run": "*"}}, {}, False),
        ({"StringEquals": {"aws:ResourceTag/gputx:run": ["r2", "r1"]}}, TAGGED, True),
        ({"StringEquals": {"aws:ResourceTag/gputx:run": "R1"}}, TAGGED, False),
        ({"StringEqualsIfExists": {"ec2:Owner": "amazon"}}, {}, True),
        ({"StringEqualsIfExists": {"ec2:Owner": "amazon"}}, {"ec2:owner": "1"}, False),
        ({"Bool": {"ec2:Encrypted": "true"}}, {"ec2:encrypted": "True"}, True),
        ({"Bool": {"ec2:Encrypted": "true"}}, {"ec2:encrypted": "false"}, False),
        ({"Null": {"aws:TagKeys": "false"}}, {"aws:tagkeys": ["a"]}, True),
        ({"Null": {"aws:TagKeys": "false"}}, {}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:tagkeys": ["a"]}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:tagkeys": ["a", "c"]}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, {"aws:tagkeys": ["c", "a"]}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, {}, False),
        ({"StringLike": {"aws:ResourceTag/gputx:run": "*"}, "Bool": {"x:Y": "true"}}, TAGGED, False),
        ({"SomethingNew": {"aws:ResourceTag/gputx:run": "*"}}, TAGGED, False),
    ],
)
def test_conditions(condition: dict[str, Any], context: dict[str, Any], holds: bool) -> None:
    assert allowed(statement(Condition=condition), context) is holds


def need(**changes: Any) -> Recorded:
    whole = {"command": "reap", "action": "ec2:TerminateInstances", "resource": INSTANCE, "context": TAGGED}
    return Recorded(**{**whole, **changes})


def test_a_record_that_the_policies_allow_is_no_complaint() -> None:
    assert iam_record.complaints([need()], whole=False) == []


@pytest.mark.parametrize(
    "asked",
    [
        need(context={}),  # an instance without our tag
        need(action="ec2:StopInstances"),
        need(resource="arn:aws:ec2:eu-north-1:999999999999:instance/i-0123456789abcdef0"),
        need(
            action="iam:PassRole",
            resource="arn:aws:iam::123456789012:role/gputx-scheduler",
            context={"iam:passedtoservice": "ec2.amazonaws.com"},
        ),
        need(
            action="iam:PassRole",
            resource="arn:aws:iam::123456789012:role/admin",
            context={"iam:passedtoservice": "ec2.amazonaws.com"},
        ),
        need(
            action="s3:PutObject",
            resource="arn:aws:s3:::transcription-123456789012/results/x",
            context={"aws:resourceaccount": "999999999999"},
        ),
        need(
            action="ec2:CreateTags",
            context={**TAGGED, "aws:tagkeys": ["gputx:heartbeat", "gputx:run"], "aws:requesttag/gputx:run": "r2"},
        ),
    ],
)
def test_what_is_not_allowed_is_a_complaint(asked: Recorded) -> None:
    (line,) = iam_record.complaints([asked], whole=False)
    assert asked.action in line
    assert "does not allow" in line


def test_what_a_command_is_not_known_to_use_is_a_complaint() -> None:
    # Allowed by the operator's policy, and by no statement that `gputx config` has: it asks nothing of an account.
    (line,) = iam_record.complaints([need(command="config")], whole=False)
    used = "`gputx config`: ec2:TerminateInstances of MoveAndEndOurInstances is used"
    assert line == f"{used}, and iam/commands.json does not say so"


def test_a_command_that_did_not_say_its_name_is_held_against_the_operator_s() -> None:
    assert iam_record.complaints([need(command="")], whole=False) == []
    assert iam_record.complaints([need(command="", context={})], whole=False)


def test_after_the_whole_suite_what_nothing_used_is_a_complaint() -> None:
    lines = iam_record.complaints([need()], whole=True)
    unused = "`gputx run`: ec2:TerminateInstances of MoveAndEndOurInstances is used by no test"
    assert any(line.startswith(unused) for line in lines)
    assert not any(line.startswith("`gputx reap`: ec2:TerminateInstances of Move") for line in lines)


def test_the_content_of_commands_json_is_what_was_used_and_what_is_declared() -> None:
    used = {"config": {"Look": {"ec2:DescribeRegions", "ec2:DescribeImages"}}, "": {"Look": {"sqs:ListQueues"}}}
    written = iam_record.with_declared(used)
    assert written["config"] == {"Look": ["ec2:DescribeImages", "ec2:DescribeRegions"]}
    # A role's policy is no command's: it is written by hand, whole.
    assert written.keys() == {"config", *iam_record.declared()} - {"instance"}
    assert "instance" not in iam_record.with_declared({"instance": {"PutOurMetrics": {"cloudwatch:PutMetricData"}}})


WHO = "AROA1:i-0123456789abcdef0"


def of_the_role(key: str, *, action: str = "s3:PutObject") -> Recorded:
    context = {"aws:resourceaccount": "123456789012", "aws:userid": WHO}
    return Recorded("instance", action, f"arn:aws:s3:::transcription-123456789012/{key}", context)


def test_what_an_instance_needs_is_held_against_its_role_s_policy() -> None:
    assert iam_record.complaints([of_the_role(f"results/20261121_141503/{WHO}/job/a.txt")], whole=False) == []
    another = of_the_role("results/20261121_141503/AROA1:i-another/job/a.txt")
    (line,) = iam_record.complaints([another], whole=False)
    assert line.startswith("instance's policy does not allow it")
    assert iam_record.complaints([of_the_role(f"results/x/{WHO}/a", action="s3:DeleteObject")], whole=False)
    lines = iam_record.complaints([need()], whole=True)
    assert any(line.startswith("the role of instances: s3:GetObject") for line in lines)


def test_roles_that_tests_make_for_themselves_are_no_business_of_ours(tmp_path: Path) -> None:
    row = {"action": "s3:PutObject", "resource": "arn:aws:s3:::b/k", "context": {}}
    rows = [{"role": "worker", **row}, {"role": "transcription-ec2-role", **row}, {"command": "run", **row}]
    (tmp_path / "needs").write_text("".join(json.dumps(each) + "\n" for each in rows))
    assert [each.command for each in iam_record.read(tmp_path / "needs")] == ["instance", "run"]


def test_nothing_is_written_from_a_record_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert iam_record.main(str(tmp_path / "none")) == 1
    assert "no needs" in capsys.readouterr().err
