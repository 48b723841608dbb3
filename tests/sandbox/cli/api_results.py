"""What the texts of a server's jobs are like in the bucket, and what its role may do there."""

from __future__ import annotations

import json
import re
import urllib.request
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest
from bare import BUCKET
from botocore.exceptions import ClientError
from product import Cli, descendants, instance

RESULTS = f"s3://{BUCKET}/results"
STORED = {"transcription.txt", "transcription.json", "transcription.srt", "transcription.vtt", "metadata.json"}
UNKNOWN_PROFILE = (
    "RunInstances error=InvalidParameterValue times=1 "
    "message='Value (transcription-ec2-role) for parameter iamInstanceProfile.name is invalid.'"
)
"""As where setup made the profile a moment ago, and EC2 does not know it yet."""


def stored_as_told(cli: Cli, said: dict[str, Any], local: str) -> str:
    """Whoever has an address has the text; all five objects are where they should be. Returns where that is."""
    stored = said["stored"]
    assert set(stored) == {"txt", "json", "srt", "vtt"}
    with urllib.request.urlopen(stored["txt"]) as answer:
        assert answer.read().decode() == local
    with urllib.request.urlopen(stored["json"]) as answer:
        assert json.loads(answer.read())["segments"]
    (bucket,) = [row for row in cli.account.table()["buckets"] if row["name"] == BUCKET]
    place = unquote(urlsplit(stored["txt"]).path).removeprefix(f"/{BUCKET}/").removesuffix("transcription.txt")
    assert {key for key in bucket["objects"] if key.startswith(place)} == {place + name for name in STORED}
    moment = datetime.fromtimestamp(said["created"], UTC).strftime("%Y%m%d_%H%M%S")
    who = rf"AROA\w+:{instance(cli)['instance_id']}"
    assert re.fullmatch(rf"results/{moment}/{who}/{said['id']}/", place)
    return place


def another_s_name_is_not_its_own(cli: Cli, address: str, place: str) -> None:
    """Whose credentials signed the address may write beside that object, and nowhere else."""
    # The sandbox looks at key and token, and at no signature, so the secret need not be known.
    signed = parse_qs(urlsplit(address).query)
    role = boto3.client(
        "s3",
        endpoint_url=cli.account.endpoint_url,
        region_name=cli.account.region,
        aws_access_key_id=signed["X-Amz-Credential"][0].partition("/")[0],
        aws_secret_access_key="unknown",
        aws_session_token=signed["X-Amz-Security-Token"][0],
    )
    role.put_object(Bucket=BUCKET, Key=place + "metadata.json", Body=b"{}")
    own = instance(cli)["instance_id"]
    for key in (place.replace(own, "i-0123456789abcdef0") + "transcription.txt", "results/20261121_141503/a.txt"):
        with pytest.raises(ClientError, match="AccessDenied"):
            role.put_object(Bucket=BUCKET, Key=key, Body=b"")


def started_with(cli: Cli) -> str:
    """The command line of the server's process."""
    server = re.compile(r"payload-\w+\.pyz api ")
    return next(line for _, line in descendants(cli.account.pid) if server.search(line))
