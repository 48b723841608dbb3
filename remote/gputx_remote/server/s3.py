"""As much of S3 as a server needs to put texts there and to say where they are: addresses signed in advance.

boto3 stays with the client: a signature is an HMAC over six lines, and all that is asked for is a PUT and a GET.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html; tests hold it against botocore.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree

METADATA = "http://169.254.169.254"
ANSWER_SECONDS = 10.0
TOKEN_SECONDS = 300
FRESH_SECONDS = 300.0
"""Credentials that end sooner than this are fetched anew: an instance's are renewed five minutes before they end."""
MOST_SECONDS = 7 * 24 * 3600
"""The longest a signed address may be valid."""
_WHO = b"Action=GetCallerIdentity&Version=2011-06-15"


@dataclass(frozen=True)
class Credentials:
    """Who signs."""

    key: str
    secret: str
    token: str | None = None
    ends: float | None = None
    """Seconds since 1970; None for those that do not end."""


def credentials(environment: Mapping[str, str] = os.environ) -> Credentials:
    """Those of the environment, else those of the instance's role (IMDSv2).

    Raises:
        OSError: there are none, or nobody answers.
    """
    if key := environment.get("AWS_ACCESS_KEY_ID"):
        return Credentials(key, environment["AWS_SECRET_ACCESS_KEY"], environment.get("AWS_SESSION_TOKEN"))
    base = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/")
    session = _asked(f"{base}/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)})
    headers = {"X-aws-ec2-metadata-token": session}
    roles = f"{base}/latest/meta-data/iam/security-credentials/"
    role = _asked(roles, "GET", headers).split()[0]
    said = json.loads(_asked(roles + role, "GET", headers))
    ends = datetime.fromisoformat(said["Expiration"].replace("Z", "+00:00")).timestamp()
    return Credentials(said["AccessKeyId"], said["SecretAccessKey"], said["Token"], ends)


class Signer:
    """Signs, with credentials that are renewed before they end."""

    def __init__(self, region: str, environment: Mapping[str, str] = os.environ) -> None:
        self.region = region
        self._environment = environment
        self._credentials: Credentials | None = None

    def url(self, bucket: str, key: str) -> str:
        """Where an object is, unsigned."""
        if endpoint := self._endpoint("S3"):
            return f"{endpoint}/{bucket}/{quote(key)}"
        return f"https://{bucket}.s3.{self.region}.amazonaws.com/{quote(key)}"

    def who(self) -> str:
        """``aws:userid`` of whoever signs: for an instance its role's id and its own, ``AROA…:i-…``.

        Raises:
            OSError: nobody answers, or not who it is.
        """
        address = self._endpoint("STS") or f"https://sts.{self.region}.amazonaws.com"
        said = ElementTree.fromstring(_asked(f"{address}/", "POST", self.asking_who(address), _WHO))  # noqa: S314 - AWS
        found = said.findtext(".//{*}UserId")
        if not found:
            raise OSError("GetCallerIdentity named nobody")
        return found

    def asking_who(self, address: str, now: float | None = None) -> dict[str, str]:
        """The headers of the question who signs, whose body is always the same."""
        now = time.time() if now is None else now
        by = self._fresh(now)
        day, stamp = _moment(now)
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "host": urlsplit(address).netloc,
            "x-amz-date": stamp,
        }
        if by.token:
            headers["x-amz-security-token"] = by.token
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = "\n".join(("POST", "/", "", lines, names, hashlib.sha256(_WHO).hexdigest()))
        scope = f"{day}/{self.region}/sts/aws4_request"
        signature = self._signature(by, stamp, scope, canonical)
        credential = f"Credential={by.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return headers | {"Authorization": f"AWS4-HMAC-SHA256 {credential}"}

    def signed(self, method: str, url: str, *, seconds: float = 900, now: float | None = None, **query: str) -> str:
        """An address that anybody may use, for a while.

        Args:
            method: "GET" or "PUT".
            url: of an object, without a query.
            seconds: for which it is valid; no longer than the credentials are.
            now: seconds since 1970; None for the clock's.
            query: of the request itself.

        Raises:
            OSError: there are no credentials.
        """
        now = time.time() if now is None else now
        by = self._fresh(now)
        day, stamp = _moment(now)
        valid = min(seconds, MOST_SECONDS, by.ends - now if by.ends else MOST_SECONDS)
        scope = f"{day}/{self.region}/s3/aws4_request"
        given = query | {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{by.key}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(int(valid)),
            "X-Amz-SignedHeaders": "host",
        }
        if by.token:
            given["X-Amz-Security-Token"] = by.token
        asked = urlencode(sorted(given.items()), quote_via=quote, safe="-_.~")
        place = urlsplit(url)
        canonical = "\n".join((method, place.path, asked, f"host:{place.netloc}\n", "host", "UNSIGNED-PAYLOAD"))
        return f"{url}?{asked}&X-Amz-Signature={self._signature(by, stamp, scope, canonical)}"

    @staticmethod
    def _signature(by: Credentials, stamp: str, scope: str, canonical: str) -> str:
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        secret = f"AWS4{by.secret}".encode()
        for part in scope.split("/"):
            secret = hmac.digest(secret, part.encode(), "sha256")
        return hmac.digest(secret, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()

    def put(self, bucket: str, key: str, data: bytes, media_type: str) -> None:
        """Write an object.

        Raises:
            OSError: it can't be.
        """
        _asked(self.signed("PUT", self.url(bucket, key)), "PUT", {"Content-Type": media_type}, data)

    def get(self, bucket: str, key: str) -> str:
        """An address to read an object at, valid for as long as it can be."""
        return self.signed("GET", self.url(bucket, key), seconds=MOST_SECONDS)

    def _fresh(self, now: float) -> Credentials:
        held = self._credentials
        if held is None or (held.ends is not None and held.ends - now < FRESH_SECONDS):
            self._credentials = held = credentials(self._environment)
        return held

    def _endpoint(self, service: str) -> str | None:
        """What stands in for AWS, by AWS's own variables."""
        named = self._environment.get(f"AWS_ENDPOINT_URL_{service}") or self._environment.get("AWS_ENDPOINT_URL")
        return named.rstrip("/") if named else None


def _moment(now: float) -> tuple[str, str]:
    moment = datetime.fromtimestamp(now, UTC)
    return moment.strftime("%Y%m%d"), moment.strftime("%Y%m%dT%H%M%SZ")


def _asked(url: str, method: str, headers: Mapping[str, str], data: bytes | None = None) -> str:
    request = urllib.request.Request(url, data, dict(headers), method=method)  # noqa: S310 - an address made here
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
        return str(answer.read().decode())
