"""EventBridge Scheduler: one-time schedules that end instances, on the sandbox's clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.config import Config

from .lab import PENDING, SHUTTING_DOWN, Lab, error_of

GROUP = "gputx"
TERMINATE = "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"
ROLE = "arn:aws:iam::123456789012:role/gputx-scheduler"
RUN = [{"ResourceType": "instance", "Tags": [{"Key": "gputx:run", "Value": "r1"}]}]


@pytest.fixture
def scheduler(lab: Lab) -> Iterator[Any]:
    client = lab.client("scheduler")
    yield client
    for row in lab.account.table()["schedules"]:
        client.delete_schedule(Name=row["name"], GroupName=row["group"])


def _at(lab: Lab, seconds: float, zone: str = "UTC") -> str:
    when = datetime.fromtimestamp(lab.account.clock.time() + seconds, ZoneInfo(zone))
    return f"at({when:%Y-%m-%dT%H:%M:%S})"


def _order(lab: Lab, *instances: str, seconds: float = 1000, **overrides: Any) -> dict[str, Any]:
    order = {
        "Name": "gputx-r1",
        "GroupName": GROUP,
        "Description": "for a test",
        "ScheduleExpression": _at(lab, seconds),
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {"Arn": TERMINATE, "RoleArn": ROLE, "Input": json.dumps({"InstanceIds": list(instances)})},
        **overrides,
    }
    return {name: value for name, value in order.items() if value is not None}


def _target(**overrides: str) -> dict[str, str]:
    return {"Arn": TERMINATE, "RoleArn": ROLE, "Input": '{"InstanceIds": ["i-0123456789abcdef0"]}', **overrides}


@pytest.fixture
def anywhere(lab: Lab) -> Iterator[dict[str, str]]:
    """A target whose role trusts the scheduler for any group: gputx's own only for its own."""
    iam = lab.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    arn = iam.create_role(RoleName="anywhere", AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
    yield _target(RoleArn=arn)
    iam.delete_role(RoleName="anywhere")


def _due(order: dict[str, Any]) -> float:
    return datetime.strptime(order["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC).timestamp()


def test_a_schedule_ends_its_instance_when_it_is_due_and_itself_with_it(lab: Lab, scheduler: Any) -> None:
    doomed, spared = lab.launch(TagSpecifications=RUN), lab.launch(TagSpecifications=RUN, InstanceType="t3.micro")
    order = _order(lab, doomed)
    arn = scheduler.create_schedule(**order)["ScheduleArn"]
    assert arn == "arn:aws:scheduler:eu-north-1:123456789012:schedule/gputx/gputx-r1"
    (row,) = lab.account.table()["schedules"]
    assert row == {
        "name": "gputx-r1",
        "group": GROUP,
        "region": "eu-north-1",
        "expression": order["ScheduleExpression"],
        "state": "ENABLED",
        "due": _due(order),
        "instances": [doomed],
        "description": "for a test",
    }
    lab.account.advance(990)
    assert (lab.state(doomed), len(lab.account.table()["schedules"])) == ("running", 1)
    lab.account.advance(SHUTTING_DOWN + 100)
    assert lab.row(doomed)["since"]["shutting-down"] == _due(order)
    assert lab.row(doomed)["since"]["terminated"] == _due(order) + SHUTTING_DOWN
    assert (lab.state(doomed), lab.state(spared)) == ("terminated", "running")
    assert lab.account.table()["schedules"] == []
    assert error_of(lambda: scheduler.get_schedule(Name="gputx-r1", GroupName=GROUP))[0] == "ResourceNotFoundException"


def test_everything_due_in_one_turn_of_the_clock_happens_in_its_order(lab: Lab, scheduler: Any) -> None:
    instance_id = lab.launch(TagSpecifications=RUN)
    early = _order(lab, instance_id, seconds=PENDING + 60)
    scheduler.create_schedule(**early)
    lab.account.add_rule(f"interrupt instance={instance_id} after=120s notice=0s")
    lab.account.advance(10_000)
    row = lab.row(instance_id)
    assert (row["reason"], row["since"]["shutting-down"]) == ("Client.UserInitiatedShutdown", _due(early))


def test_update_replaces_everything_and_moves_the_time(lab: Lab, scheduler: Any) -> None:
    instance_id = lab.launch(TagSpecifications=RUN)
    scheduler.create_schedule(**_order(lab, instance_id, seconds=1000))
    moved = _order(lab, instance_id, seconds=5000, Description=None, ActionAfterCompletion=None)
    scheduler.update_schedule(**moved)
    said = scheduler.get_schedule(Name="gputx-r1", GroupName=GROUP)
    assert (said["ScheduleExpression"], said["ActionAfterCompletion"]) == (moved["ScheduleExpression"], "NONE")
    assert "Description" not in said
    assert (said["State"], said["ScheduleExpressionTimezone"]) == ("ENABLED", "UTC")
    assert said["Target"]["Input"] == moved["Target"]["Input"]
    assert abs(said["CreationDate"].timestamp() - lab.account.clock.time()) < 30
    lab.account.advance(2000)
    assert lab.state(instance_id) == "running"
    lab.account.advance(3100)
    assert lab.state(instance_id) == "shutting-down"
    (kept,) = lab.account.table()["schedules"]
    assert kept["due"] is None
    absent = _order(lab, instance_id, Name="other")
    assert error_of(lambda: scheduler.update_schedule(**absent)) == ("ResourceNotFoundException", 404)


def test_neither_a_disabled_nor_a_deleted_schedule_fires(lab: Lab, scheduler: Any) -> None:
    instance_id = lab.launch(TagSpecifications=RUN)
    scheduler.create_schedule(**_order(lab, instance_id, Name="deleted"))
    scheduler.create_schedule(**_order(lab, instance_id, Name="disabled"))
    scheduler.update_schedule(**_order(lab, instance_id, Name="disabled", State="DISABLED"))
    scheduler.delete_schedule(Name="deleted", GroupName=GROUP)
    assert error_of(lambda: scheduler.delete_schedule(Name="deleted", GroupName=GROUP)) == (
        "ResourceNotFoundException",
        404,
    )
    lab.account.advance(5000)
    assert lab.state(instance_id) == "running"
    (row,) = lab.account.table()["schedules"]
    assert (row["name"], row["state"], row["due"]) == ("disabled", "DISABLED", None)


def test_a_time_that_is_past_fires_at_once_and_dates_nothing_back(lab: Lab, scheduler: Any) -> None:
    instance_id = lab.launch_running(TagSpecifications=RUN)
    before = lab.account.clock.time()
    scheduler.create_schedule(**_order(lab, instance_id, seconds=-3600))
    lab.account.advance(1)
    assert lab.state(instance_id) == "shutting-down"
    assert lab.row(instance_id)["since"]["shutting-down"] >= before


def test_a_time_zone_counts_and_a_window_is_waited_out(lab: Lab, scheduler: Any) -> None:
    order = _order(lab, "i-0123456789abcdef0", ScheduleExpressionTimezone="Europe/Stockholm")
    order["ScheduleExpression"] = _at(lab, 1000, "Europe/Stockholm")
    scheduler.create_schedule(**order)
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 10}
    flexible = _order(lab, "i-0123456789abcdef0", Name="flexible", FlexibleTimeWindow=window)
    scheduler.create_schedule(**flexible)
    due = {row["name"]: row["due"] - lab.account.clock.time() for row in lab.account.table()["schedules"]}
    assert 980 < due["gputx-r1"] <= 1000
    assert 1580 < due["flexible"] <= 1600


def test_one_id_that_is_none_and_nothing_is_ended(lab: Lab, scheduler: Any) -> None:
    instance_id = lab.launch(TagSpecifications=RUN)
    scheduler.create_schedule(**_order(lab, instance_id, "i-0123456789abcdef0"))
    lab.account.advance(2000)
    assert lab.state(instance_id) == "running"
    assert lab.account.table()["schedules"] == []


def test_the_furnished_role_ends_nothing_that_is_not_a_run_s(lab: Lab, scheduler: Any) -> None:
    foreign = lab.launch()
    scheduler.create_schedule(**_order(lab, foreign))
    lab.account.advance(2000)
    assert lab.state(foreign) == "running"


def test_a_role_may_name_the_tag_s_value_or_its_absence(lab: Lab, scheduler: Any) -> None:
    iam = lab.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": ["scheduler.amazonaws.com"]}, "Action": ["sts:AssumeRole"]}
    arn = iam.create_role(RoleName="narrow", AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
    by_value = {"StringEquals": {"ec2:ResourceTag/gputx:run": ["r1", "r2"]}}
    unheard = {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}
    untagged = {"Null": {"aws:ResourceTag/gputx:run": "true"}}
    tagged, plain = lab.launch(TagSpecifications=RUN), lab.launch(InstanceType="t3.micro")
    ended = []
    cases = [(unheard, "*"), (untagged, "arn:aws:ec2:us-east-1:*:instance/*"), (by_value, "*"), (untagged, "*")]
    for number, (condition, resource) in enumerate(cases):
        allow = {"Effect": "Allow", "Action": "ec2:Terminate*", "Resource": resource, "Condition": condition}
        iam.put_role_policy(RoleName="narrow", PolicyName="only", PolicyDocument=_policy(allow))
        for instance_id in (tagged, plain):
            order = _order(lab, instance_id, seconds=10, Name=f"narrow-{number}-{instance_id}")
            scheduler.create_schedule(**{**order, "Target": {**order["Target"], "RoleArn": arn}})
        lab.account.advance(20)
        ended.append([lab.state(i) == "shutting-down" for i in (tagged, plain)])
    assert ended == [[False, False], [False, False], [True, False], [True, True]]
    iam.delete_role_policy(RoleName="narrow", PolicyName="only")
    iam.delete_role(RoleName="narrow")


def test_a_policy_that_is_attached_counts_and_a_denial_outweighs_it(lab: Lab, scheduler: Any) -> None:
    iam = lab.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "*"}
    arn = iam.create_role(RoleName="wide", AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
    allow = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
    policy = iam.create_policy(PolicyName="wide", PolicyDocument=_policy(allow))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="wide", PolicyArn=policy)
    deny = {"Effect": "Deny", "Action": "ec2:TerminateInstances", "Resource": "*"}
    iam.put_role_policy(RoleName="wide", PolicyName="deny", PolicyDocument=_policy(deny))
    instance_id = lab.launch()
    order = _order(lab, instance_id, seconds=10)
    order["Target"]["RoleArn"] = arn
    scheduler.create_schedule(**order)
    lab.account.advance(20)
    assert lab.state(instance_id) == "pending"
    iam.delete_role_policy(RoleName="wide", PolicyName="deny")
    scheduler.create_schedule(**order)
    lab.account.advance(1)
    assert lab.state(instance_id) == "shutting-down"
    iam.detach_role_policy(RoleName="wide", PolicyArn=policy)
    iam.delete_policy(PolicyArn=policy)
    iam.delete_role(RoleName="wide")


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.mark.parametrize(
    ("overrides", "code", "status", "message"),
    [
        ({"Name": "not a name"}, "ValidationException", 400, "'name' failed"),
        ({"GroupName": "nowhere"}, "ResourceNotFoundException", 404, "Schedule group nowhere does not exist."),
        ({"ScheduleExpression": "at(soon)"}, "ValidationException", 400, "Invalid Schedule Expression at(soon)."),
        ({"ScheduleExpression": "at(2026-02-30T10:00:00)"}, "ValidationException", 400, "Invalid Schedule Exp"),
        ({"ScheduleExpression": "at(2026-09-08T03:54:26.439)"}, "ValidationException", 400, "Invalid Schedule Exp"),
        ({"ScheduleExpression": "at(2026-09-08T03:54:26Z)"}, "ValidationException", 400, "Invalid Schedule Exp"),
        ({"ScheduleExpression": "rate(1 minut)"}, "ValidationException", 400, "Invalid Schedule Expression"),
        ({"ScheduleExpression": "rate(0 minutes)"}, "ValidationException", 400, "Invalid Schedule Expression"),
        ({"ScheduleExpression": "rate(5 minutes)"}, "NotEmulated", 501, "only at()"),
        ({"ScheduleExpression": "cron(0 9 * * ? *)"}, "NotEmulated", 501, "only at()"),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "ValidationException", 400, "Timezone Mars/Olympus"),
        ({"FlexibleTimeWindow": {"Mode": "SOMETIMES"}}, "ValidationException", 400, "[OFF, FLEXIBLE]"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "ValidationException", 400, "1 to 1440"),
        ({"State": "ASLEEP"}, "ValidationException", 400, "[ENABLED, DISABLED]"),
        ({"ActionAfterCompletion": "KEEP"}, "ValidationException", 400, "[NONE, DELETE]"),
        ({"Description": "x" * 513}, "ValidationException", 400, "less than or equal to 512"),
        ({"Target": _target(RoleArn="gputx-scheduler")}, "ValidationException", 400, "'target.roleArn'"),
        (
            {"Target": _target(RoleArn="arn:aws:iam::123456789012:role/nobody")},
            "ValidationException",
            400,
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
        ),
        ({"Target": _target(Arn="arn:aws:scheduler:::aws-sdk:ec2:stopInstances")}, "NotEmulated", 501, "stopInstances"),
        ({"Target": _target(Input="{")}, "ValidationException", 400, "JSON"),
        ({"Target": _target(Input='{"InstanceIds": "i-1"}')}, "ValidationException", 400, "list of ids"),
    ],
)
def test_what_aws_would_refuse_is_refused(
    lab: Lab, scheduler: Any, overrides: dict[str, Any], code: str, status: int, message: str
) -> None:
    unchecked = lab.client("scheduler", config=Config(parameter_validation=False, retries={"total_max_attempts": 1}))
    order = _order(lab, "i-0123456789abcdef0", **overrides)
    with pytest.raises(unchecked.exceptions.ClientError) as caught:
        unchecked.create_schedule(**order)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert message in answer["Error"]["Message"]
    assert lab.account.table()["schedules"] == []


_SOURCE = "arn:aws:scheduler:eu-north-1:123456789012:schedule-group/"


@pytest.mark.parametrize(
    ("service", "condition", "trusted"),
    [
        ("events.amazonaws.com", {}, False),
        ("scheduler.amazonaws.com", {"StringEquals": {"aws:SourceAccount": "123456789012"}}, True),
        ("scheduler.amazonaws.com", {"StringEquals": {"aws:SourceAccount": "999999999999"}}, False),
        ("scheduler.amazonaws.com", {"ArnLike": {"aws:SourceArn": f"{_SOURCE}gp*"}}, True),
        ("scheduler.amazonaws.com", {"ArnLike": {"aws:SourceArn": f"{_SOURCE}other"}}, False),
        ("scheduler.amazonaws.com", {"Bool": {"aws:SecureTransport": "true"}}, False),
    ],
)
def test_a_role_must_trust_the_scheduler_for_the_group(
    lab: Lab, scheduler: Any, service: str, condition: dict[str, Any], trusted: bool
) -> None:
    iam = lab.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole", "Condition": condition}
    arn = iam.create_role(RoleName="trusting", AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
    order = _order(lab, "i-0123456789abcdef0", Target=_target(RoleArn=arn))
    if trusted:
        scheduler.create_schedule(**order)
    else:
        assert error_of(lambda: scheduler.create_schedule(**order)) == ("ValidationException", 400)
    iam.delete_role(RoleName="trusting")


def test_a_name_is_taken_once_and_a_token_is_good_for_one_request(lab: Lab, scheduler: Any) -> None:
    order = _order(lab, "i-0123456789abcdef0")
    first = scheduler.create_schedule(**order, ClientToken="once")["ScheduleArn"]
    assert scheduler.create_schedule(**order, ClientToken="once")["ScheduleArn"] == first
    other = {**order, "Description": "another"}
    assert error_of(lambda: scheduler.create_schedule(**other, ClientToken="once")) == ("ConflictException", 409)
    assert error_of(lambda: scheduler.create_schedule(**order)) == ("ConflictException", 409)
    assert len(lab.account.table()["schedules"]) == 1


def test_schedules_are_listed_by_group_and_prefix_in_pages(lab: Lab, scheduler: Any, anywhere: dict[str, str]) -> None:
    for name in ("gputx-a", "gputx-b", "other"):
        scheduler.create_schedule(**_order(lab, "i-0123456789abcdef0", Name=name))
    scheduler.create_schedule(**_order(lab, "i-0123456789abcdef0", Name="elsewhere", GroupName=None, Target=anywhere))

    def names(**arguments: Any) -> list[str]:
        pages = scheduler.get_paginator("list_schedules").paginate(**arguments)
        return [row["Name"] for page in pages for row in page["Schedules"]]

    assert names(GroupName=GROUP) == ["gputx-a", "gputx-b", "other"]
    assert names(GroupName=GROUP, NamePrefix="gputx-") == ["gputx-a", "gputx-b"]
    assert sorted(names(PaginationConfig={"PageSize": 1})) == ["elsewhere", "gputx-a", "gputx-b", "other"]
    assert names(GroupName="default") == ["elsewhere"]
    (shown,) = scheduler.list_schedules(GroupName="default")["Schedules"]
    assert (shown["GroupName"], shown["State"], shown["Target"]) == ("default", "ENABLED", {"Arn": TERMINATE})
    assert error_of(lambda: names(GroupName="nowhere")) == ("ResourceNotFoundException", 404)
    assert lab.client("scheduler", region_name="us-east-1").list_schedules()["Schedules"] == []


def test_groups_have_tags_and_take_their_schedules_with_them(
    lab: Lab, scheduler: Any, anywhere: dict[str, str]
) -> None:
    arn = scheduler.create_schedule_group(Name="mine", Tags=[{"Key": "a", "Value": "1"}])["ScheduleGroupArn"]
    scheduler.tag_resource(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}, {"Key": "c", "Value": "3"}])
    scheduler.untag_resource(ResourceArn=arn, TagKeys=["a", "c"])
    assert scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert error_of(lambda: scheduler.create_schedule_group(Name="mine")) == ("ConflictException", 409)
    instance_id = lab.launch(TagSpecifications=RUN)
    schedule = scheduler.create_schedule(**_order(lab, instance_id, GroupName="mine", Target=anywhere))["ScheduleArn"]
    tag_it = lambda: scheduler.tag_resource(ResourceArn=schedule, Tags=[{"Key": "a", "Value": "1"}])  # noqa: E731
    assert error_of(tag_it) == ("ValidationException", 400)
    assert [g["Name"] for g in scheduler.list_schedule_groups(NamePrefix="mi")["ScheduleGroups"]] == ["mine"]
    scheduler.delete_schedule_group(Name="mine")
    assert error_of(lambda: scheduler.get_schedule_group(Name="mine")) == ("ResourceNotFoundException", 404)
    lab.account.advance(2000)
    assert lab.state(instance_id) == "running"


def test_the_account_is_furnished_with_a_role_and_a_group(lab: Lab, scheduler: Any) -> None:
    for region in ("eu-north-1", "us-east-1", "aws-global"):
        role = lab.client("iam", region_name=region).get_role(RoleName="gputx-scheduler")["Role"]
        assert role["Arn"] == ROLE
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "scheduler.amazonaws.com"}
    group = scheduler.get_schedule_group(Name=GROUP)
    assert group["State"] == "ACTIVE"
    assert scheduler.list_tags_for_resource(ResourceArn=group["Arn"])["Tags"] == [{"Key": "gputx:setup", "Value": "1"}]


def test_rules_and_the_log_know_the_scheduler_s_actions(lab: Lab, scheduler: Any) -> None:
    lab.account.add_rule("scheduler:UpdateSchedule error=ThrottlingException status=429 times=1")
    order = _order(lab, "i-0123456789abcdef0")
    scheduler.create_schedule(**order, ClientToken="told")
    assert error_of(lambda: scheduler.update_schedule(**order)) == ("ThrottlingException", 429)
    created, updated = lab.account.calls()[-2:]
    assert (created["service"], created["action"], created["token"]) == ("scheduler", "CreateSchedule", "told")
    assert created["instances"] == ["i-0123456789abcdef0"]
    assert (updated["action"], updated["outcome"], updated["code"]) == (
        "UpdateSchedule",
        "error",
        "ThrottlingException",
    )
