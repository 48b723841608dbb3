"""An account in which nobody has set anything up, and how it looks to plain boto3 once somebody has."""

from __future__ import annotations

import json
from typing import Any

from product import Cli

PARTS = ("buckets", "roles", "instance_profiles", "schedule_groups", "log_groups", "budgets")
LOOKS = ("Describe", "Get", "List", "Head")
BUCKET = "transcription-123456789012"
EMAIL = "someone@example.org"


def parts(cli: Cli) -> dict[str, Any]:
    """What of setup's is in the sandbox's own table; empty where there is nothing."""
    table = cli.account.table()
    return {kind: table[kind] for kind in PARTS if table[kind]}


def mutating(cli: Cli, since: int) -> list[tuple[str, str]]:
    """(service, action) of the calls since that change something, in order."""
    calls = [(call["service"], call["action"]) for call in cli.account.calls(since)]
    return [(service, action) for service, action in calls if not action.startswith(LOOKS)]


def numbered(cli: Cli) -> int:
    """The number of the last call so far."""
    return max((call["number"] for call in cli.account.calls()), default=0)


def as_others_see_it(cli: Cli) -> dict[str, Any]:
    """Everything that setup makes, without dates and ids: two accounts set up alike are equal."""
    s3, iam, logs, budgets = (cli.boto(service) for service in ("s3", "iam", "logs", "budgets"))
    account = {"AccountId": "123456789012", "BudgetName": "gputx"}
    roles = {
        role["RoleName"]: {
            "trust": role["AssumeRolePolicyDocument"],
            "tags": sorted(tag["Key"] for tag in iam.get_role(RoleName=role["RoleName"])["Role"].get("Tags", [])),
            "policies": {
                name: iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
                for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
            },
        }
        for role in iam.list_roles()["Roles"]
    }
    profiles = {
        profile["InstanceProfileName"]: [role["RoleName"] for role in profile["Roles"]]
        for profile in iam.list_instance_profiles()["InstanceProfiles"]
    }
    alerts = budgets.describe_notifications_for_budget(**account)["Notifications"]
    return {
        "bucket": {
            "region": s3.head_bucket(Bucket=BUCKET)["BucketRegion"],
            "tags": s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"],
            "blocked": s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"],
            "encryption": s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"],
            "policy": json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"]),
            "versioning": s3.get_bucket_versioning(Bucket=BUCKET).get("Status"),
            "rules": s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"],
        },
        "roles": roles,
        "profiles": profiles,
        "schedule groups": sorted(
            group["Name"] for group in cli.boto("scheduler").list_schedule_groups()["ScheduleGroups"]
        ),
        "log groups": {
            group["logGroupName"]: group.get("retentionInDays") for group in logs.describe_log_groups()["logGroups"]
        },
        "limit": budgets.describe_budget(**account)["Budget"]["BudgetLimit"],
        "alerts": {
            f"{alert['NotificationType']} {alert['Threshold']:g}": [
                one["Address"]
                for one in budgets.describe_subscribers_for_notification(
                    **account, Notification={k: v for k, v in alert.items() if k != "NotificationState"}
                )["Subscribers"]
            ]
            for alert in alerts
        },
    }
