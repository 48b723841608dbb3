"""``gputx doctor`` on what ``gputx setup`` makes: in a bare account, after setup, and with something missing of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from bare import BUCKET, EMAIL
from examined import Doctor, of
from product import Cli

from gputx import sandbox
from gputx.errors import ExitCode
from gputx.workflows.checks.finding import Verdict

OK, WARNING, FAILED, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.SKIPPED
PARTS = ("bucket", "roles", "schedule role", "log groups", "budget")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Account]:
    """An account in which nobody has set anything up."""
    account = sandbox.up(tmp_path_factory.mktemp("bare"), pending_seconds=0.3, linger=False, bare=True)
    yield account
    account.stop()


@pytest.fixture
def set_up(cli: Cli) -> Iterator[None]:
    cli("setup", "--yes", "--email", EMAIL)
    yield
    cli("teardown", "--yes", "--with-results")


def test_a_bare_account(doctor: Doctor) -> None:
    report = doctor()
    found = {name: of(report, name) for name in ("image", *PARTS)}
    assert {name: finding.verdict for name, finding in found.items()} == {
        "image": FAILED,
        "bucket": FAILED,
        **dict.fromkeys(PARTS[1:], WARNING),
    }
    assert found["image"].remedy == "gputx build-ami --on sandbox"
    for name in PARTS[:-1]:
        assert found[name].remedy == "gputx setup --on sandbox"
    assert '--email "$email"' in str(found["budget"].remedy)
    assert "AWSServiceRoleForEC2Spot" in found["roles"].line
    assert report.ending
    assert report.ending.exit_code is ExitCode.CONFIGURATION
    assert report.ending.message == "2 of 16 checks failed: image, bucket"


@pytest.mark.usefixtures("set_up")
def test_after_setup_all_that_it_makes_is_green(doctor: Doctor) -> None:
    report = doctor()
    assert {name: of(report, name).verdict for name in PARTS} == dict.fromkeys(PARTS, OK)
    assert of(report, "bucket").line == BUCKET


@pytest.mark.usefixtures("set_up")
def test_what_is_missing_of_a_part_is_said(doctor: Doctor, cli: Cli) -> None:
    cli.boto("s3").delete_bucket_policy(Bucket=BUCKET)
    cli.boto("iam").delete_role_policy(RoleName="transcription-ec2-role", PolicyName="gputx")
    cli.boto("iam").delete_role_policy(RoleName="gputx-scheduler", PolicyName="gputx")
    cli.boto("logs").delete_retention_policy(logGroupName="/aws/ec2/transcription/api")
    budgets = cli.boto("budgets")
    budgets.delete_budget(AccountId="123456789012", BudgetName="gputx")
    alert = {"ComparisonOperator": "GREATER_THAN", "NotificationType": "FORECASTED", "Threshold": 90.0}
    someone = {"SubscriptionType": "EMAIL", "Address": EMAIL}
    budgets.create_budget(
        AccountId="123456789012",
        Budget={
            "BudgetName": "gputx",
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "100", "Unit": "USD"},
        },
        NotificationsWithSubscribers=[
            {"Notification": {**alert, "ThresholdType": "PERCENTAGE"}, "Subscribers": [someone]}
        ],
        ResourceTags=[{"Key": "gputx:setup", "Value": "1"}],
    )
    report = doctor()
    missing = dict(zip(PARTS, ("TLS only", "policy", "policy", "retention", "80 %"), strict=True))
    for name, what in missing.items():
        found = of(report, name)
        assert found.verdict is WARNING, found
        assert what in found.line
        assert found.remedy == "gputx setup --on sandbox"


def test_a_bucket_that_a_person_made_is_used_as_it_is_unless_it_can_be_made_public(doctor: Doctor, cli: Cli) -> None:
    s3 = cli.boto("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "made-by", "Value": "eva"}]})
    try:
        found = of(doctor(), "bucket")
        assert found.verdict is WARNING
        assert "can be made public" in found.line
        remedy = str(found.remedy).split()
        assert remedy[:5] == ["aws", "s3api", "put-public-access-block", "--bucket", BUCKET]
        # The remedy's own words, through plain boto3.
        block = dict(pair.split("=") for pair in remedy[6].split(","))
        s3.put_public_access_block(
            Bucket=BUCKET, PublicAccessBlockConfiguration={name: value == "true" for name, value in block.items()}
        )
        found = of(doctor(), "bucket")
        assert found.verdict is OK
        assert "a person made it" in found.line
    finally:
        s3.delete_bucket(Bucket=BUCKET)


def test_a_bucket_of_another_account(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("HeadBucket error=AccessDenied status=403")
    found = of(doctor(), "bucket")
    assert found.verdict is FAILED
    assert found.remedy == f"export GPUTX_BUCKET={BUCKET}-eu-north-1 && gputx setup --on sandbox"


def test_no_bucket_is_wanted(doctor: Doctor) -> None:
    assert of(doctor(bucket="none"), "bucket").verdict is SKIPPED


def test_a_role_that_a_person_made_is_used_as_it_is(doctor: Doctor, cli: Cli) -> None:
    iam = cli.boto("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName="gputx-scheduler", AssumeRolePolicyDocument=document)
    try:
        found = of(doctor(), "schedule role")
        assert found.verdict is WARNING  # its group is not there
        assert found.facts == {"gputx-scheduler": "not ours", "gputx": "absent"}
    finally:
        iam.delete_role(RoleName="gputx-scheduler")
