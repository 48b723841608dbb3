"""The results bucket as ``gputx setup`` makes it: private, encrypted, TLS only, and forgetful.

What a person has set otherwise in it stays: rules and policies of theirs beside ours, other numbers of days in our
rules. Only what is missing is added. Layout: see :mod:`gputx.aws.storage`; S3 has no directories, so a prefix is
there with the first object under it, and there is nothing to make.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from gputx.aws import tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.part import Found, Part, Standing, unless_gone
from gputx.aws.session import AwsSession
from gputx.errors import GputxError

_BLOCKED = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
_TLS_ONLY = "GputxTlsOnly"
RESULTS_DAYS, TEMPORARY_DAYS = 30, 1
TEMPORARY = "temp/"
_RULES: tuple[dict[str, Any], ...] = (
    {"ID": "gputx-results", "Filter": {"Prefix": "results/"}, "Expiration": {"Days": RESULTS_DAYS}},
    {"ID": "gputx-temp", "Filter": {"Prefix": TEMPORARY}, "Expiration": {"Days": TEMPORARY_DAYS}},
    # Parts of uploads that were never finished are billed and shown to nobody.
    {"ID": "gputx-uploads", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
)
_DELETED_AT_ONCE = 1000
_US_EAST_1 = "us-east-1"


@dataclass(frozen=True)
class Contents:
    """What is in the bucket: objects that are somebody's, their bytes, and what only runs needed."""

    kept: int
    kept_bytes: int
    temporary: int


@dataclass(frozen=True)
class ResultsBucket(Part):
    """``account`` is whose it has to be: every call says so, so that a bucket that has changed hands is left alone."""

    kind: ClassVar[str] = "bucket"
    account: str

    @property
    def cost(self) -> str:
        # S3 Standard in eu-north-1, first 50 TB: https://aws.amazon.com/s3/pricing/
        return "about $0.023 per GB and month; empty: nothing"

    def look(self, session: AwsSession) -> Found:
        try:
            head = unless_gone(lambda: self._call(session, "HeadBucket"))
        except AwsError as error:
            if error.meaning is not Meaning.DENIED:
                raise
            return Found(
                Standing.TAKEN,
                "it belongs to another account, or these credentials may not see it",
                ours=False,
                remedy="bucket names are shared by all accounts: choose your own with --bucket NAME",
            )
        if head is None:
            return Found(Standing.ABSENT)
        where = str(head.get("BucketRegion") or session.region)
        tagging = unless_gone(lambda: self._call(session, "GetBucketTagging")) or {}
        labels = tags.read(tagging.get("TagSet"))
        if tags.SETUP not in labels:
            # The command replaces all tags that there are.
            whole = json.dumps({"TagSet": tags.listed({**labels, **tags.MADE_BY_SETUP})})
            return Found(
                Standing.FOREIGN,
                f"a person made it (no tag {tags.SETUP})",
                ours=False,
                remedy=f"aws s3api put-bucket-tagging --bucket {self.name} --tagging {shlex.quote(whole)}",
            )
        lacking = tuple(what for what, (look, _) in self._aspects().items() if not look(session))
        elsewhere = "" if where == session.region else f"in {where}"
        return Found(Standing.PARTLY if lacking else Standing.WHOLE, elsewhere, lacking)

    def make(self, session: AwsSession, found: Found) -> None:
        stands = self._create(session, lambda: self._make_bucket(session), found)
        for what in stands.lacking:
            self._aspects()[what][1](session)

    def unmake(self, session: AwsSession) -> None:
        """Take it away, and what is temporary in it. It has to hold nothing else."""
        self._delete(session, [item for item in self._objects(session) if item["Key"].startswith(TEMPORARY)])
        unless_gone(lambda: self._call(session, "DeleteBucket"))

    def contents(self, session: AwsSession) -> Contents:
        """What is in it, versions that were overwritten included. Raises AwsError."""
        kept = [item for item in self._objects(session) if not item["Key"].startswith(TEMPORARY)]
        return Contents(
            len(kept),
            sum(int(item.get("Size", 0)) for item in kept),
            sum(1 for _ in self._objects(session)) - len(kept),
        )

    def empty(self, session: AwsSession) -> None:
        """Delete all that is in it, for good. Raises GputxError."""
        self._delete(session, list(self._objects(session)))

    def _make_bucket(self, session: AwsSession) -> None:
        configuration: dict[str, Any] = {"Tags": tags.listed(tags.MADE_BY_SETUP)}
        if session.region != _US_EAST_1:  # which is where a bucket is that names no place
            configuration["LocationConstraint"] = session.region
        session.call("s3", "CreateBucket", Bucket=self.name, CreateBucketConfiguration=configuration)

    def _aspects(self) -> dict[str, tuple[Callable[[AwsSession], bool], Callable[[AwsSession], object]]]:
        """What makes it what it should be: whether it is so, and how to make it so."""
        return {
            "public access blocked": (self._is_blocked, self._block),
            "encryption": (self._is_encrypted, self._encrypt),
            "TLS only": (self._is_tls_only, self._allow_only_tls),
            "versioning off": (self._is_unversioned, self._suspend_versions),
            "expiry": (self._expires, self._let_expire),
        }

    def _is_blocked(self, session: AwsSession) -> bool:
        answer = unless_gone(lambda: self._call(session, "GetPublicAccessBlock")) or {}
        return bool(answer.get("PublicAccessBlockConfiguration") == _BLOCKED)

    def _block(self, session: AwsSession) -> None:
        self._call(session, "PutPublicAccessBlock", PublicAccessBlockConfiguration=_BLOCKED)

    def _is_encrypted(self, session: AwsSession) -> bool:
        """With S3's own keys, or with better ones that a person has chosen."""
        answer = unless_gone(lambda: self._call(session, "GetBucketEncryption")) or {}
        return bool(answer.get("ServerSideEncryptionConfiguration", {}).get("Rules"))

    def _encrypt(self, session: AwsSession) -> None:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        self._call(session, "PutBucketEncryption", ServerSideEncryptionConfiguration={"Rules": [rule]})

    def _statements(self, session: AwsSession) -> list[dict[str, Any]]:
        answer = unless_gone(lambda: self._call(session, "GetBucketPolicy"))
        return list(json.loads(answer["Policy"])["Statement"]) if answer else []

    def _tls_only(self) -> dict[str, Any]:
        arn = f"arn:aws:s3:::{self.name}"
        return {
            "Sid": _TLS_ONLY,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }

    def _is_tls_only(self, session: AwsSession) -> bool:
        return self._tls_only() in self._statements(session)

    def _allow_only_tls(self, session: AwsSession) -> None:
        others = [entry for entry in self._statements(session) if entry.get("Sid") != _TLS_ONLY]
        policy = {"Version": "2012-10-17", "Statement": [*others, self._tls_only()]}
        self._call(session, "PutBucketPolicy", Policy=json.dumps(policy))

    def _is_unversioned(self, session: AwsSession) -> bool:
        return self._call(session, "GetBucketVersioning").get("Status") != "Enabled"

    def _suspend_versions(self, session: AwsSession) -> None:
        self._call(session, "PutBucketVersioning", VersioningConfiguration={"Status": "Suspended"})

    def _rules(self, session: AwsSession) -> list[dict[str, Any]]:
        answer = unless_gone(lambda: self._call(session, "GetBucketLifecycleConfiguration"))
        return list(answer["Rules"]) if answer else []

    def _expires(self, session: AwsSession) -> bool:
        there = {rule.get("ID") for rule in self._rules(session) if rule.get("Status") == "Enabled"}
        return there >= {rule["ID"] for rule in _RULES}

    def _let_expire(self, session: AwsSession) -> None:
        there = {rule.get("ID"): rule for rule in self._rules(session)}
        ours = {rule["ID"]: {**rule, **there.pop(rule["ID"], {}), "Status": "Enabled"} for rule in _RULES}
        rules = [*there.values(), *ours.values()]
        self._call(session, "PutBucketLifecycleConfiguration", LifecycleConfiguration={"Rules": rules})

    def _objects(self, session: AwsSession) -> Iterator[dict[str, Any]]:
        """All versions of all objects, and the marks of deletion, a page at a time."""
        more: dict[str, Any] = {}
        while True:
            page = self._call(session, "ListObjectVersions", **more)
            yield from page.get("Versions", [])
            yield from page.get("DeleteMarkers", [])
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker") or ""}

    def _delete(self, session: AwsSession, items: list[dict[str, Any]]) -> None:
        for start in range(0, len(items), _DELETED_AT_ONCE):
            some = items[start : start + _DELETED_AT_ONCE]
            named = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in some]
            answer = self._call(session, "DeleteObjects", Delete={"Objects": named, "Quiet": True})
            if errors := answer.get("Errors"):
                first = errors[0]
                raise GputxError(f"{len(errors)} objects of {self.name} stay: {first['Key']}: {first.get('Message')}")

    def _call(self, session: AwsSession, operation: str, **parameters: Any) -> dict[str, Any]:
        return session.call("s3", operation, Bucket=self.name, ExpectedBucketOwner=self.account, **parameters)
