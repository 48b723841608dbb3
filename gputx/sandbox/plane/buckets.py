"""What moto's S3 lacks of what ``gputx setup`` relies on.

Tags in the call that makes a bucket, encryption by default, policies that ask for TLS, whose a bucket has to be, names
that another account has, and objects that expire when the account's clock says so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.calls import Call
from gputx.sandbox.plane.wire import AwsError
from gputx.sandbox.rulebook import RuleBook

_DAY_SECONDS = 86400.0
_SSE_S3 = {"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": "false"}}


class Buckets:
    """Looks at each call to S3 before moto does. Called under the account's lock."""

    def __init__(self, rules: RuleBook) -> None:
        self._rules = rules
        self._patched = False

    def prepare(self, call: Call, now: float) -> None:
        """Refuse what AWS would, and let expire what is due.

        Args:
            now: seconds since the epoch on the account's clock.

        Raises:
            AwsError: BucketAlreadyExists, AccessDenied.
        """
        if not self._patched:
            _patch()
            self._patched = True
        name = call.path.strip("/").partition("/")[0]
        if name and self._rules.is_taken(name):
            if call.action == "CreateBucket":
                raise AwsError("BucketAlreadyExists", "The requested bucket name is not available.", 409)
            raise AwsError("AccessDenied", "Access Denied", 403)
        if name and call.expected_owner not in {"", emulator.ACCOUNT_ID}:
            raise AwsError("AccessDenied", "Access Denied", 403)
        for bucket in emulator.s3().buckets.values():
            _expire(bucket, now)

    @staticmethod
    def all() -> list[dict[str, Any]]:
        """Every bucket: name, region, how many objects, tags."""
        store = emulator.s3()
        return [
            {
                "name": name,
                "region": bucket.region_name,
                "objects": sorted(bucket.keys),
                "tags": {str(k): str(v) for k, v in store.tagger.get_tag_dict_for_resource(bucket.arn).items()},
            }
            for name, bucket in store.buckets.items()
        ]


def _expire(bucket: Any, now: float) -> None:
    """Delete what a rule for a prefix gives no more days. AWS waits for midnight, here it is exact."""
    if bucket.versioning_status:
        return  # there an expired object is only marked, and nothing of gputx's relies on it
    for rule in bucket.rules:
        if rule.status != "Enabled" or rule.expiration_days is None:
            continue
        prefix = (rule.filter.prefix if rule.filter else rule.prefix) or ""
        oldest = now - float(rule.expiration_days) * _DAY_SECONDS
        for name in [name for name in bucket.keys if name.startswith(prefix)]:
            if emulator.seconds_of(bucket.keys[name].last_modified) < oldest:
                bucket.keys.pop(name)


def _patch() -> None:
    from moto.s3.models import FakeBucket, S3Backend  # noqa: PLC0415 - moto reads its settings when imported
    from moto.s3.responses import S3Response  # noqa: PLC0415

    FakeBucket.get_permission = _without_tls_statements(FakeBucket.get_permission)
    S3Backend.create_bucket = _encrypted(S3Backend.create_bucket)
    S3Backend.delete_bucket = _with_its_tags(S3Backend.delete_bucket)
    S3Backend.delete_object = _one_version(S3Backend.delete_object)
    S3Response._bucket_response_put = _tagged(S3Response._bucket_response_put)


def _without_tls_statements(judge: Callable[..., Any]) -> Callable[..., Any]:
    """moto knows no conditions, so a policy that denies what comes without TLS would deny everything.

    The sandbox's loopback stands in for AWS's TLS, so such a statement never applies.
    """

    @functools.wraps(judge)
    def permission(bucket: Any, action: str, resource: str) -> Any:
        whole = bucket.policy
        try:
            bucket.policy = emulator.without_statements(whole, _wants_tls)
            return judge(bucket, action, resource)
        finally:
            bucket.policy = whole

    return permission


def _wants_tls(statement: dict[str, Any]) -> bool:
    condition = statement.get("Condition") or {}
    return statement.get("Effect") == "Deny" and condition == {"Bool": {"aws:SecureTransport": "false"}}


def _encrypted(create: Callable[..., Any]) -> Callable[..., Any]:
    """Since January 2023 every new bucket encrypts with S3's own keys."""

    @functools.wraps(create)
    def create_bucket(*arguments: Any, **options: Any) -> Any:
        bucket = create(*arguments, **options)
        bucket.encryption = _SSE_S3
        return bucket

    return create_bucket


def _with_its_tags(delete: Callable[..., Any]) -> Callable[..., Any]:
    """A new bucket has no tags of one that went before it under its name."""

    @functools.wraps(delete)
    def delete_bucket(store: Any, bucket_name: str) -> Any:
        gone = delete(store, bucket_name)
        if gone is not None:
            store.tagger.delete_all_tags_for_resource(gone.arn)
        return gone

    return delete_bucket


def _one_version(delete: Callable[..., Any]) -> Callable[..., Any]:
    """A version that is named goes by itself, also where versioning is suspended by now, and marks of deletion do."""

    @functools.wraps(delete)
    def delete_object(
        store: Any, bucket_name: str, key_name: str, version_id: str | None = None, bypass: bool = False
    ) -> Any:
        bucket = store.get_bucket(bucket_name)
        if not bucket.versioning_status or version_id is None:
            return delete(store, bucket_name, key_name, version_id=version_id, bypass=bypass)
        left = [item for item in bucket.keys.getlist(key_name, []) if str(item.version_id) != str(version_id)]
        bucket.keys.setlist(key_name, left)
        if not left:
            bucket.keys.pop(key_name)
        return True, {"version-id": version_id}

    return delete_object


def _tagged(put: Callable[..., Any]) -> Callable[..., Any]:
    """CreateBucket takes tags in its body."""

    @functools.wraps(put)
    def response_put(response: Any, request: Any, bucket_name: str, querystring: dict[str, Any]) -> Any:
        answer = put(response, request, bucket_name, querystring)
        if not querystring and response.body and (tags := _tags_in(response.body)):
            response.backend.put_bucket_tagging(bucket_name, tags)
        return answer

    return response_put


def _tags_in(body: bytes) -> dict[str, str]:
    found = {}
    for tag in ElementTree.fromstring(body).iter():  # noqa: S314 - the client of a sandbox is its owner
        if tag.tag.endswith("}Tag"):
            pair = {child.tag.rpartition("}")[2]: child.text or "" for child in tag}
            found[pair["Key"]] = pair["Value"]
    return found
