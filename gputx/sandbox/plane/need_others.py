"""What IAM would be asked for a call to any service but EC2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.calls import Call
from gputx.sandbox.plane.need import EVERYTHING, Need, arn, pass_role, tags_in_context
from gputx.sandbox.plane.policy import Value

# S3's actions that are called otherwise than its operations.
_S3_ACTIONS = {
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteObjects": "DeleteObject",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "GetTagging": "GetBucketTagging",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "PutTagging": "PutBucketTagging",
    "UploadPart": "PutObject",
}
_OF_OBJECTS = frozenset({"AbortMultipartUpload", "DeleteObject", "DeleteObjectVersion", "GetObject", "PutObject"})


def _s3(call: Call) -> list[Need]:
    action = _S3_ACTIONS.get(call.action, call.action)
    if action == "DeleteObject" and (b"<VersionId>" in call.body or "versionId" in call.params):
        action = "DeleteObjectVersion"
    bucket, _, key = unquote(call.path).strip("/").partition("/")
    if not bucket:
        return [Need(f"s3:{action}")]
    # Deleting several names them in the body; they are objects of the bucket, whichever.
    name = f"{bucket}/{key or '*'}" if action in _OF_OBJECTS else bucket
    # Bucket names are shared by all accounts: whose it is, only a condition can say.
    owner: dict[str, Value] = {"aws:resourceaccount": emulator.ACCOUNT_ID}
    tagged = call.action == "CreateBucket" and b"<Tag>" in call.body
    actions = [action, "TagResource"] if tagged else [action]
    return [Need(f"s3:{each}", f"arn:aws:s3:::{name}", owner) for each in actions]


def _scheduler(call: Call) -> list[Need]:
    params, action = call.params, f"scheduler:{call.action}"
    if call.action in {"CreateSchedule", "UpdateSchedule", "GetSchedule", "DeleteSchedule"}:
        name = f"schedule/{params.get('GroupName') or params.get('groupName') or 'default'}/{params.get('Name')}"
        needed = [Need(action, arn("scheduler", call.region, name))]
        role = (params.get("Target") or {}).get("RoleArn")
        return [*needed, pass_role(str(role), "scheduler.amazonaws.com")] if role else needed
    if call.action.endswith("ScheduleGroup"):
        made = Need(action, arn("scheduler", call.region, f"schedule-group/{params.get('Name')}"))
        return [made, Need("scheduler:TagResource", made.resource)] if params.get("Tags") else [made]
    return [Need(action, unquote(str(params.get("ResourceArn") or EVERYTHING)))]


def _iam(call: Call) -> list[Need]:
    params, action = call.params, f"iam:{call.action}"
    if call.action == "CreateServiceLinkedRole":
        service = str(params.get("AWSServiceName"))
        resource = arn("iam", "", f"role/aws-service-role/{service}/*")
        return [Need(action, resource, {"iam:awsservicename": service})]
    if "DeletionTaskId" in params:
        # task/aws-service-role/SERVICE/ROLE/ID
        return [Need(action, arn("iam", "", "role/" + "/".join(params["DeletionTaskId"].split("/")[1:-1])))]
    labels = tags_in_context("request", _form_tags(params))
    if "InstanceProfileName" in params:
        profiles = emulator.iam().instance_profiles.values()
        named = _named(profiles, "instance-profile", str(params["InstanceProfileName"]), action, labels)
        if call.action == "AddRoleToInstanceProfile":
            # Whoever puts a role in a profile hands it to what is launched with that.
            role = _named(emulator.iam().roles.values(), "role", str(params.get("RoleName")), action, {})
            return [named, pass_role(role.resource, "ec2.amazonaws.com")]
        return [named, *_tagging("iam:TagInstanceProfile", named, call.action)]
    if "RoleName" in params:
        role = _named(emulator.iam().roles.values(), "role", str(params["RoleName"]), action, labels)
        return [role, *_tagging("iam:TagRole", role, call.action)]
    return [Need(action, str(params.get("PolicyArn") or EVERYTHING))]


def _named(there: Iterable[Any], kind: str, name: str, action: str, labels: Mapping[str, Value]) -> Need:
    """An action on a role or profile: by its ARN, path and tags where it is there; without one where it is not."""
    for one in there:
        if one.name == name:
            tags = one.get_tags() if hasattr(one, "get_tags") else one.tags
            listed = tags.values() if isinstance(tags, dict) else tags
            has = tags_in_context("resource", {tag["Key"]: tag["Value"] for tag in listed})
            return Need(action, str(one.arn), {**has, **labels})
    return Need(action, arn("iam", "", f"{kind}/{name}"), labels)


def _tagging(action: str, made: Need, operation: str) -> list[Need]:
    """What is made with tags has to be allowed to be tagged, too."""
    tagged = operation.startswith("Create") and "aws:tagkeys" in made.context
    return [Need(action, made.resource, made.context)] if tagged else []


def _form_tags(params: Mapping[str, Any]) -> dict[str, str]:
    """The tags in a form: Tags.member.1.Key, Tags.member.1.Value."""
    return {
        str(key): str(params.get(f"{name.removesuffix('.Key')}.Value", ""))
        for name, key in params.items()
        if name.startswith("Tags.member.") and name.endswith(".Key")
    }


def _sqs(call: Call) -> list[Need]:
    name = str(call.params.get("QueueUrl") or call.params.get("QueueName") or "").rpartition("/")[2]
    return [Need(f"sqs:{call.action}", arn("sqs", call.region, name) if name else EVERYTHING)]


def _logs(call: Call) -> list[Need]:
    params = call.params
    resource = EVERYTHING
    if named := params.get("resourceArn"):
        resource = str(named)
    elif name := params.get("logGroupName"):
        resource = arn("logs", call.region, f"log-group:{name}")
    needed = [Need(f"logs:{call.action}", resource)]
    if call.action == "CreateLogGroup" and params.get("tags"):
        needed.append(Need("logs:TagResource", resource))
    return needed


def _budgets(call: Call) -> list[Need]:
    """AWS Budgets has two actions for all of a budget's operations, and those on tags."""
    params = call.params
    if "ResourceARN" in params:
        return [Need(f"budgets:{call.action}", str(params["ResourceARN"]))]
    name = params.get("BudgetName") or (params.get("Budget") or params.get("NewBudget") or {}).get("BudgetName") or "*"
    resource = arn("budgets", "", f"budget/{name}")
    needed = [Need("budgets:ViewBudget" if call.action.startswith("Describe") else "budgets:ModifyBudget", resource)]
    if params.get("ResourceTags"):
        needed.append(Need("budgets:TagResource", resource))
    return needed


def _ssm(call: Call) -> list[Need]:
    names = [str(name) for name in call.params.get("Names") or [call.params.get("Name") or "*"]]
    # Parameters that AWS and others publish belong to no account.
    owners = ["" if name.startswith("/aws/service/") else emulator.ACCOUNT_ID for name in names]
    return [
        Need(f"ssm:{call.action}", arn("ssm", call.region, f"parameter/{name.lstrip('/')}", owner))
        for name, owner in zip(names, owners, strict=True)
    ]


def _quotas(call: Call) -> list[Need]:
    service, code = call.params.get("ServiceCode"), call.params.get("QuotaCode")
    resource = arn("servicequotas", call.region, f"{service}/{code}") if code else EVERYTHING
    return [Need(f"servicequotas:{call.action}", resource)]


def _nothing(call: Call) -> list[Need]:
    """Who one is may be asked by anybody: "No permissions are required", says STS's API Reference."""
    return [] if call.action == "GetCallerIdentity" else [Need(f"sts:{call.action}")]


def _metrics(call: Call) -> list[Need]:
    namespace = call.params.get("Namespace")
    return [Need(f"cloudwatch:{call.action}", context={"cloudwatch:namespace": str(namespace)} if namespace else {})]


NEEDS: Mapping[str, Callable[[Call], list[Need]]] = {
    "budgets": _budgets,
    "iam": _iam,
    "logs": _logs,
    "monitoring": _metrics,
    "s3": _s3,
    "scheduler": _scheduler,
    "servicequotas": _quotas,
    "sqs": _sqs,
    "ssm": _ssm,
    "sts": _nothing,
}
"""By the name that a service signs with."""


def needs(call: Call) -> list[Need]:
    """What a service would ask IAM."""
    known: Callable[[Call], list[Need]] | Any = NEEDS.get(call.service)
    return known(call) if known else [Need(f"{call.service}:{call.action}")]
