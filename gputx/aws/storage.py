"""The results bucket: layout, uploads, and the address of the payload that an instance fetches at boot.

Layout: ``results/YYYYMMDD_HHMMSS/transcription.txt``, ``metadata.json`` and the other formats asked for; with
several files a folder for each. ``temp/processing/`` holds what only a run needs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gputx.aws.errors import AwsError, Meaning
from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError

PUBLIC_ACCESS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
"""What S3 can be told to refuse."""

_CONTENT_TYPES = {
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "ttml": "application/ttml+xml; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
}


def check_bucket(session: AwsSession, bucket: str) -> str:
    """The region that a bucket is in. Raises ConfigurationError where it does not exist or may not be used."""
    try:
        return str(session.call("s3", "HeadBucket", Bucket=bucket).get("BucketRegion") or session.region)
    except AwsError as error:
        if error.meaning is Meaning.GONE:
            raise ConfigurationError(
                f"there is no bucket {bucket}",
                hint="gputx setup makes it, or go without S3: --bucket none",
            ) from error
        if error.meaning is Meaning.DENIED:
            raise ConfigurationError(
                f"bucket {bucket} exists, but these credentials may not use it",
                hint="bucket names are shared by all accounts: choose your own with --bucket, or --bucket none",
            ) from error
        raise


def refuses_the_public(session: AwsSession, bucket: str) -> bool:
    """Whether nobody can make anything in the bucket public. Raises AwsError."""
    try:
        answer = session.call("s3", "GetPublicAccessBlock", Bucket=bucket)
    except AwsError as error:
        if error.meaning is Meaning.GONE:
            return False
        raise
    return all(answer["PublicAccessBlockConfiguration"].get(name) for name in PUBLIC_ACCESS)


def put_payload(session: AwsSession, bucket: str, *, name: str, data: bytes, valid_seconds: int) -> str:
    """Store the payload under its content's name and return a presigned address for it.

    It is also the proof, before anything is launched, that results can be written there later.

    Raises:
        ConfigurationError: these credentials may not write to the bucket.
        AwsError: S3 does not answer.
    """
    key = f"temp/processing/{name}"
    try:
        put(session, bucket, key, data)
    except AwsError as error:
        if error.meaning not in {Meaning.DENIED, Meaning.FATAL}:
            raise
        raise ConfigurationError(
            f"bucket {bucket} can't be written to ({error.code})",
            hint="ask for s3:PutObject there, choose another with --bucket, or go without S3: --bucket none",
        ) from error
    url: str = session.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=valid_seconds
    )
    return url


def claim_folder(session: AwsSession, bucket: str, *, when: float, first_key: str, body: bytes) -> str:
    """Find a free ``results/YYYYMMDD_HHMMSS/`` and put the first object there, atomically.

    Two runs that end in the same second must not share a folder: the put is conditional, and the one that comes
    second takes the next second.

    Args:
        when: seconds since the epoch; the folder's name is its UTC time.
        first_key: the object's name inside the folder.

    Returns:
        The prefix, with its trailing slash. Raises AwsError.
    """
    moment = datetime.fromtimestamp(when, UTC)
    while True:
        prefix = f"results/{moment:%Y%m%d_%H%M%S}/"
        try:
            put(session, bucket, prefix + first_key, body, only_new=True)
        except AwsError as error:
            if error.meaning is not Meaning.EXISTS:
                raise
            moment += timedelta(seconds=1)
        else:
            return prefix


def put(session: AwsSession, bucket: str, key: str, body: bytes, *, only_new: bool = False) -> str:
    """Store one result, encrypted at rest. Returns its s3:// address. Raises AwsError."""
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if only_new else {}
    session.call(
        "s3",
        "PutObject",
        Bucket=bucket,
        Key=key,
        Body=body,
        ContentType=_CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream"),
        ServerSideEncryption="AES256",
        **condition,
    )
    return f"s3://{bucket}/{key}"
