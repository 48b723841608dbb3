"""What a request asks for: service, action, parameters, and who signed it."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")

# S3 names no action on the wire: method, resource (service, bucket or object) and a subresource imply it.
_S3_PLAIN = {
    ("GET", "service"): "ListBuckets",
    ("GET", "bucket"): "ListObjects",
    ("PUT", "bucket"): "CreateBucket",
    ("DELETE", "bucket"): "DeleteBucket",
    ("HEAD", "bucket"): "HeadBucket",
    ("GET", "object"): "GetObject",
    ("HEAD", "object"): "HeadObject",
    ("PUT", "object"): "PutObject",
    ("DELETE", "object"): "DeleteObject",
    ("POST", "bucket"): "PostObject",
}
_S3_SUBRESOURCE = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "partNumber"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "list-type"): "ListObjectsV2",
    ("POST", "delete"): "DeleteObjects",
    ("PUT", "publicAccessBlock"): "PutPublicAccessBlock",
    ("GET", "publicAccessBlock"): "GetPublicAccessBlock",
    ("PUT", "policy"): "PutBucketPolicy",
    ("PUT", "lifecycle"): "PutBucketLifecycleConfiguration",
    ("PUT", "tagging"): "PutTagging",
    ("GET", "tagging"): "GetTagging",
    ("GET", "policy"): "GetBucketPolicy",
    ("DELETE", "policy"): "DeleteBucketPolicy",
    ("GET", "lifecycle"): "GetBucketLifecycleConfiguration",
    ("GET", "versioning"): "GetBucketVersioning",
    ("PUT", "versioning"): "PutBucketVersioning",
    ("GET", "encryption"): "GetBucketEncryption",
    ("PUT", "encryption"): "PutBucketEncryption",
    ("GET", "versions"): "ListObjectVersions",
}

# EventBridge Scheduler's are method, first word of the path, and what a second word, if any, is the name of.
_SCHEDULER = {
    ("POST", "schedules", "Name"): "CreateSchedule",
    ("PUT", "schedules", "Name"): "UpdateSchedule",
    ("GET", "schedules", "Name"): "GetSchedule",
    ("DELETE", "schedules", "Name"): "DeleteSchedule",
    ("GET", "schedules", ""): "ListSchedules",
    ("POST", "schedule-groups", "Name"): "CreateScheduleGroup",
    ("GET", "schedule-groups", "Name"): "GetScheduleGroup",
    ("DELETE", "schedule-groups", "Name"): "DeleteScheduleGroup",
    ("GET", "schedule-groups", ""): "ListScheduleGroups",
    ("POST", "tags", "ResourceArn"): "TagResource",
    ("DELETE", "tags", "ResourceArn"): "UntagResource",
    ("GET", "tags", "ResourceArn"): "ListTagsForResource",
}


@dataclass
class Call:
    """One request, read.

    Attributes:
        access_key: of whoever signed it; None where nobody did.
        params: as they are on the wire: flat names (``Placement.AvailabilityZone``) for a query protocol, the
            document for JSON, the query string for S3.
        form: it is a form with an action in it: the query protocol, or EC2's.
        expected_owner: of S3: the account that the client expects the bucket to be of; empty where it does not say.
        token: of temporary credentials; empty where they are none.
    """

    service: str
    action: str
    region: str
    access_key: str | None
    params: dict[str, Any]
    body: bytes
    presigned: bool = False
    form: bool = False
    path: str = ""
    expected_owner: str = ""
    token: str = ""

    @property
    def facets(self) -> dict[str, str]:
        """What the parameters alone say of the things a rule can match."""
        if self.service != "ec2":
            return {}
        get = self.params.get
        facets = {
            "zone": get("Placement.AvailabilityZone"),
            "type": get("InstanceType") or get("InstanceType.1"),
            "instance": get("InstanceId") or get("InstanceId.1"),
        }
        if self.action == "RunInstances":
            facets["market"] = "spot" if get("InstanceMarketOptions.MarketType") == "spot" else "on-demand"
        return {name: value for name, value in facets.items() if value}


def read_body(environ: dict[str, Any]) -> bytes:
    """Take the whole body off the wire, and leave it in ``environ`` for the next reader."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        body: bytes = stream.read()
    else:
        body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    return body


def read_call(environ: dict[str, Any]) -> Call:
    """Read a request far enough to judge, route and log it."""
    body = read_body(environ)
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    signature = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    presigned = False
    if signature is None and "X-Amz-Credential" in query:
        signature = _CREDENTIAL.match(f"Credential={query['X-Amz-Credential']}")
        presigned = True
    if signature:
        access_key, _, region, service = signature.groups()
    else:
        # Version 2 presigned URLs, which boto3 still makes for S3 in some regions, or nobody signed.
        access_key, region, service = query.get("AWSAccessKeyId"), "us-east-1", "s3"
        presigned = access_key is not None
        if not presigned and environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            service = "sts"  # the one that has forms which nobody need sign
    call = Call(service, "", region, access_key, query, body, presigned)
    call.path = environ["PATH_INFO"]
    call.token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN") or query.get("X-Amz-Security-Token") or ""
    call.expected_owner = environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER", "")
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        call.action = target.rpartition(".")[2]
        call.params = _document(body)
    elif environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded") and service != "s3":
        call.params = dict(parse_qsl(body.decode(), keep_blank_values=True))
        call.action = call.params.get("Action", "")
        call.form = bool(call.action)
    elif service == "scheduler":
        call.action, call.params = _scheduler_action(environ, body)
    elif service == "s3":
        call.action = _s3_action(environ["REQUEST_METHOD"], environ["PATH_INFO"], query)
    if not call.action:
        call.action = query.get("Action") or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    return call


def _scheduler_action(environ: dict[str, Any], body: bytes) -> tuple[str, dict[str, Any]]:
    """(action, parameters from the path, the query string and the body)."""
    kind, _, name = environ["PATH_INFO"].strip("/").partition("/")
    named = ("ResourceArn" if kind == "tags" else "Name") if name else ""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    params: dict[str, Any] = {key: values if key == "TagKeys" else values[-1] for key, values in query.items()}
    params |= _document(body)
    if named:
        params[named] = name
    return _SCHEDULER.get((environ["REQUEST_METHOD"], kind, named), ""), params


def _document(body: bytes) -> dict[str, Any]:
    document = json.loads(body or b"{}")
    if not isinstance(document, dict):
        raise ValueError("the body is no JSON object")  # noqa: TRY004 - the client's slip, not ours
    return document


def _s3_action(method: str, path: str, query: dict[str, str]) -> str:
    for (verb, name), action in _S3_SUBRESOURCE.items():
        if verb == method and name in query:
            return action
    parts = path.strip("/").split("/", 1)
    resource = "service" if parts == [""] else ("bucket" if len(parts) == 1 else "object")
    return _S3_PLAIN.get((method, resource), f"{method} {resource}")


def presigned_window(params: dict[str, Any]) -> tuple[float, float] | None:
    """(signed at, seconds it is good for) of a presigned URL; None where the URL says neither.

    A version 2 URL carries only the moment it ends: it counts as signed then, and good for no time after.
    """
    if "X-Amz-Date" in params and "X-Amz-Expires" in params:
        signed = datetime.strptime(params["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return signed.timestamp(), float(params["X-Amz-Expires"])
    if "Expires" in params:
        return float(params["Expires"]), 0.0
    return None
