"""What an account has beside EC2 and `gputx setup` relies on: buckets, budgets, quota requests, the role of spot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gputx.errors import InputError
from gputx.sandbox.grammar import parse
from gputx.sandbox.rules import Taken

from .lab import Lab, error_of

HERE = {"LocationConstraint": "eu-north-1"}
ACCOUNT = "123456789012"
ALERT = {
    "NotificationType": "ACTUAL",
    "ComparisonOperator": "GREATER_THAN",
    "Threshold": 80.0,
    "ThresholdType": "PERCENTAGE",
}
ANNA = {"SubscriptionType": "EMAIL", "Address": "anna@example.org"}


def budget(limit: str) -> dict[str, Any]:
    return {
        "BudgetName": "b",
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": limit, "Unit": "USD"},
    }


def test_a_bucket_is_made_with_its_tags_and_encrypts(lab: Lab) -> None:
    s3 = lab.client("s3")
    s3.create_bucket(
        Bucket="with-tags", CreateBucketConfiguration={**HERE, "Tags": [{"Key": "gputx:setup", "Value": "1"}]}
    )
    assert s3.get_bucket_tagging(Bucket="with-tags")["TagSet"] == [{"Key": "gputx:setup", "Value": "1"}]
    (rule,) = s3.get_bucket_encryption(Bucket="with-tags")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    s3.delete_bucket(Bucket="with-tags")


def test_whose_a_bucket_is(lab: Lab) -> None:
    s3 = lab.client("s3")
    s3.create_bucket(Bucket="mine", CreateBucketConfiguration=HERE)
    s3.head_bucket(Bucket="mine", ExpectedBucketOwner=ACCOUNT)
    assert error_of(lambda: s3.head_bucket(Bucket="mine", ExpectedBucketOwner="210987654321"))[1] == 403
    lab.account.add_rule("bucket theirs taken")
    create = {"Bucket": "theirs", "CreateBucketConfiguration": HERE}
    assert error_of(lambda: s3.create_bucket(**create)) == ("BucketAlreadyExists", 409)
    assert error_of(lambda: s3.head_bucket(Bucket="theirs"))[1] == 403
    s3.delete_bucket(Bucket="mine")
    rule = parse("bucket theirs taken")
    assert isinstance(rule, Taken)
    with pytest.raises(InputError, match="bucket NAME taken"):
        parse("bucket theirs")


def test_a_policy_that_wants_tls_denies_nothing_and_any_other_denial_holds(lab: Lab) -> None:
    s3 = lab.client("s3")
    s3.create_bucket(Bucket="strict", CreateBucketConfiguration=HERE)

    def denying(**more: Any) -> str:
        entry = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::strict/*", **more}
        return json.dumps({"Version": "2012-10-17", "Statement": [entry]})

    s3.put_bucket_policy(Bucket="strict", Policy=denying(Condition={"Bool": {"aws:SecureTransport": "false"}}))
    s3.put_object(Bucket="strict", Key="a", Body=b"x")
    assert s3.get_object(Bucket="strict", Key="a")["Body"].read() == b"x"
    s3.put_bucket_policy(Bucket="strict", Policy=denying())
    assert error_of(lambda: s3.put_object(Bucket="strict", Key="b", Body=b"x"))[1] == 403
    s3.delete_bucket_policy(Bucket="strict")
    s3.delete_object(Bucket="strict", Key="a")
    s3.delete_bucket(Bucket="strict")


def test_a_version_goes_by_itself(lab: Lab) -> None:
    s3 = lab.client("s3")
    s3.create_bucket(Bucket="versions", CreateBucketConfiguration=HERE)
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="versions", Key="a", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket="versions", Key="a", Body=b"2")["VersionId"]
    marker = s3.delete_object(Bucket="versions", Key="a")["VersionId"]
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Suspended"})
    s3.delete_object(Bucket="versions", Key="a", VersionId=first)
    left = s3.list_object_versions(Bucket="versions")
    assert [version["VersionId"] for version in left["Versions"]] == [second]
    assert [entry["VersionId"] for entry in left["DeleteMarkers"]] == [marker]
    assert error_of(lambda: s3.delete_bucket(Bucket="versions"))[0] == "BucketNotEmpty"
    gone = [{"Key": "a", "VersionId": version} for version in (second, marker)]
    s3.delete_objects(Bucket="versions", Delete={"Objects": gone})
    s3.delete_bucket(Bucket="versions")


def test_a_budget_knows_whom_it_writes_to(lab: Lab) -> None:
    budgets = lab.client("budgets")
    named = {"AccountId": ACCOUNT, "BudgetName": "b"}
    make = {"AccountId": ACCOUNT, "Budget": budget("10")}
    alerts = [{"Notification": ALERT, "Subscribers": [ANNA]}]
    nobody = [{"Notification": ALERT, "Subscribers": [{**ANNA, "Address": "nobody"}]}]
    bad = error_of(lambda: budgets.create_budget(**make, NotificationsWithSubscribers=nobody))
    assert bad[0] == "InvalidParameterException"
    assert error_of(lambda: budgets.create_budget(AccountId=ACCOUNT, Budget=budget("0")))[0] == bad[0]
    budgets.create_budget(**make, NotificationsWithSubscribers=alerts, ResourceTags=[{"Key": "k", "Value": "v"}])
    assert error_of(lambda: budgets.create_budget(**make))[0] == "DuplicateRecordException"
    alert = {**named, "Notification": ALERT}
    assert budgets.describe_subscribers_for_notification(**alert)["Subscribers"] == [ANNA]
    assert error_of(lambda: budgets.create_subscriber(**alert, Subscriber=ANNA))[0] == "DuplicateRecordException"
    budgets.update_budget(AccountId=ACCOUNT, NewBudget=budget("20"))
    assert float(budgets.describe_budget(**named)["Budget"]["BudgetLimit"]["Amount"]) == 20
    arn = f"arn:aws:budgets::{ACCOUNT}:budget/b"
    assert budgets.list_tags_for_resource(ResourceARN=arn)["ResourceTags"] == [{"Key": "k", "Value": "v"}]
    budgets.delete_budget(**named)
    assert error_of(lambda: budgets.describe_budget(**named))[0] == "NotFoundException"


def test_more_vcpus_are_granted_a_day_later_and_asked_for_once(lab: Lab) -> None:
    quotas = lab.client("service-quotas")
    named = {"ServiceCode": "ec2", "QuotaCode": "L-3819A6DF"}
    lab.account.add_rule("quota spot=0")
    asked = quotas.request_service_quota_increase(**named, DesiredValue=8)["RequestedQuota"]
    assert asked["Status"] == "CASE_OPENED"
    twice = error_of(lambda: quotas.request_service_quota_increase(**named, DesiredValue=16))
    assert twice[0] == "ResourceAlreadyExistsException"
    assert quotas.get_service_quota(**named)["Quota"]["Value"] == 0
    lab.account.advance(86400)
    assert quotas.get_service_quota(**named)["Quota"]["Value"] == 8
    (told,) = quotas.list_requested_service_quota_change_history_by_quota(**named)["RequestedQuotas"]
    assert told["Status"] == "APPROVED"
    assert quotas.get_requested_service_quota_change(RequestId=asked["Id"])["RequestedQuota"]["DesiredValue"] == 8


def test_the_role_of_spot_is_made_once_and_stays_while_it_is_needed(lab: Lab) -> None:
    iam = lab.client("iam")
    make = {"AWSServiceName": "spot.amazonaws.com"}
    assert iam.create_service_linked_role(**make)["Role"]["RoleName"] == "AWSServiceRoleForEC2Spot"
    assert error_of(lambda: iam.create_service_linked_role(**make))[0] == "InvalidInput"
    running = lab.launch_running()

    def deletion() -> Any:
        task = iam.delete_service_linked_role(RoleName="AWSServiceRoleForEC2Spot")["DeletionTaskId"]
        return iam.get_service_linked_role_deletion_status(DeletionTaskId=task)

    refused = deletion()
    assert refused["Status"] == "FAILED"
    assert running in refused["Reason"]["Reason"]
    lab.ec2.terminate_instances(InstanceIds=[running])
    lab.account.advance(600)
    assert deletion()["Status"] == "SUCCEEDED"
    assert error_of(lambda: iam.get_role(RoleName="AWSServiceRoleForEC2Spot"))[0] == "NoSuchEntity"
