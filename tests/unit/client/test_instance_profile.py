"""Where a server's texts may go, and launches with a profile that EC2 will not have."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from botocore.exceptions import ClientError
from clocks import ManualClock
from test_aws_values import PLAN

from gputx.aws.errors import AwsError, from_botocore
from gputx.aws.launch import LaunchPlan
from gputx.clock import Stop
from gputx.errors import CapacityError
from gputx.models import Instance, Market
from gputx.workflows.api.results import Results, find
from gputx.workflows.hosts.profile import PAUSES, launched

WITH = dataclasses.replace(PLAN, profile="a-role")
UNKNOWN = "Value (a-role) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"


def refusal(code: str, message: str = "m", status: int = 400, *, lost: bool = False) -> AwsError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = from_botocore(ClientError(answer, "RunInstances"), service="ec2", operation="RunInstances", place="x")
    assert isinstance(error, AwsError)
    error.lost = lost
    return error


class Ec2:
    """Answers launches in turn: with an error, or with an instance."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.asked: list[str | None] = []
        self.clock = ManualClock()
        self.notes: list[str] = []

    def launch(self, plan: LaunchPlan) -> Instance:
        self.asked.append(plan.profile)
        if error := self._answers.pop(0) if self._answers else None:
            raise error
        return Instance("i-1", "pending", "t", "z", Market.SPOT, 0.0, profile=plan.profile)

    def launched(self, plan: LaunchPlan = WITH) -> Instance:
        return launched(self.launch, plan, clock=self.clock, stop=Stop(), note=self.notes.append)


def test_a_profile_that_ec2_takes_is_no_matter() -> None:
    ec2 = Ec2()
    assert ec2.launched().profile == "a-role"
    assert (ec2.asked, ec2.clock.slept, ec2.notes) == (["a-role"], [], [])


def test_a_new_profile_is_waited_for() -> None:
    ec2 = Ec2(refusal("InvalidParameterValue", UNKNOWN), refusal("InvalidParameterValue", UNKNOWN))
    assert ec2.launched().profile == "a-role"
    assert (ec2.clock.slept, ec2.notes) == (list(PAUSES[:2]), [])


def test_one_that_does_not_become_known_is_gone_without() -> None:
    ec2 = Ec2(*[refusal("InvalidParameterValue", UNKNOWN)] * (len(PAUSES) + 1))
    assert ec2.launched().profile is None
    assert sum(ec2.clock.slept) == sum(PAUSES)
    assert ec2.notes == ["launched without a role: a-role is not known to EC2 yet"]


def test_who_may_not_hand_a_role_over_has_a_machine_without_it() -> None:
    ec2 = Ec2(refusal("UnauthorizedOperation", "You are not authorized to perform this operation.", 403))
    assert ec2.launched().profile is None
    assert (ec2.asked, ec2.clock.slept) == (["a-role", None], [])
    assert ec2.notes == ["launched without a role: a-role may not be handed over (iam:PassRole)"]


def test_who_may_not_launch_hears_that() -> None:
    ec2 = Ec2(*[refusal("UnauthorizedOperation", status=403)] * 2)
    with pytest.raises(AwsError, match="UnauthorizedOperation"):
        ec2.launched()
    assert (len(ec2.asked), ec2.notes) == (2, [])


@pytest.mark.parametrize(
    "error",
    [
        refusal("UnauthorizedOperation", status=403, lost=True),  # an earlier try may have launched
        refusal("InvalidParameterValue", "Invalid value 'x' for InstanceType."),
        CapacityError("no pool had capacity"),
    ],
)
def test_what_is_not_the_profile_s_doing_is_not_tried_again(error: Exception) -> None:
    ec2 = Ec2(error)
    with pytest.raises(type(error)):
        ec2.launched()
    assert ec2.asked == ["a-role"]


def test_without_a_profile_nothing_is_tried_twice() -> None:
    ec2 = Ec2(refusal("UnauthorizedOperation", status=403))
    with pytest.raises(AwsError):
        ec2.launched(PLAN)
    assert ec2.asked == [None]


class Account:
    """Stands in for an AwsSession: what is there, by operation."""

    region = "eu-north-1"

    def __init__(self, **answers: Any) -> None:
        self._answers = {
            "HeadBucket": {"BucketRegion": "eu-west-1"},
            "GetInstanceProfile": {"InstanceProfile": {"Roles": [{"RoleName": "a-role"}]}},
            **answers,
        }
        self.asked: list[dict[str, Any]] = []

    def call(self, _service: str, operation: str, **parameters: Any) -> Any:
        self.asked.append(parameters)
        answer = self._answers[operation]
        if isinstance(answer, Exception):
            raise answer
        return answer


def found(account: Account, bucket: str | None = None) -> Results | str:
    session: Any = account
    return find(session, "123456789012", bucket=bucket, profile="a-role")


def test_texts_go_to_the_bucket_of_the_account() -> None:
    assert found(Account()) == Results("s3://transcription-123456789012/results", "eu-west-1", "a-role")
    assert found(Account(), "mine") == Results("s3://mine/results", "eu-west-1", "a-role")


def test_who_wants_no_bucket_is_told_nothing() -> None:
    account = Account()
    assert found(account, "none") == ""
    assert account.asked == []


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"HeadBucket": refusal("404", status=404)}, "there is no bucket transcription-123456789012; gputx setup"),
        ({"HeadBucket": refusal("403", status=403)}, "these credentials may not use it; bucket names are shared"),
        ({"GetInstanceProfile": refusal("NoSuchEntity", status=404)}, "no instance profile a-role; gputx setup"),
        ({"GetInstanceProfile": {"InstanceProfile": {"Roles": []}}}, "no role in the instance profile a-role; gputx"),
        ({"GetInstanceProfile": refusal("AccessDenied", status=403)}, "can't be looked at; allow iam:GetInstance"),
    ],
)
def test_where_there_is_no_place_for_texts_it_is_one_line(answers: dict[str, Any], why: str) -> None:
    said = found(Account(**answers))
    assert isinstance(said, str)
    assert said.startswith("texts stay on the server: ")
    assert why in said
    assert "\n" not in said


def test_an_aws_that_does_not_answer_is_no_missing_bucket() -> None:
    with pytest.raises(AwsError, match="InternalError"):
        found(Account(GetInstanceProfile=refusal("InternalError", status=500)))
