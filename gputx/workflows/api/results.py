"""Where a server puts the texts of its jobs: the bucket of this account, with the role that instances have in it."""

from __future__ import annotations

from dataclasses import dataclass

from gputx.aws import roles, storage
from gputx.aws.errors import AwsError
from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError
from gputx.workflows.hosts.survey import NO_BUCKET

PREFIX = "results"


@dataclass(frozen=True)
class Results:
    """A place for texts, and what a machine may write there with."""

    address: str
    """``s3://BUCKET/results``."""
    region: str
    """The bucket's."""
    profile: str
    """The instance profile to launch with."""


def find(session: AwsSession, account: str, *, bucket: str | None, profile: str) -> Results | str:
    """The place, or why there is none, and what would change that. A server is of use without it, so nothing fails.

    Args:
        session: asks.
        account: twelve digits.
        bucket: its name; None for ``transcription-<account id>``; "none" where a person wants no S3.
        profile: the name of the instances' profile.

    Raises:
        AwsError: AWS does not answer.
    """
    if bucket == NO_BUCKET:
        return ""
    name = bucket or f"transcription-{account}"
    try:
        region = storage.check_bucket(session, name)
    except ConfigurationError as error:
        return f"texts stay on the server: {error.message}; {error.hint}"
    try:
        filled = roles.in_profile(session, profile)
    except AwsError as error:
        if not error.denied:
            raise
        return f"texts stay on the server: instance profile {profile} can't be looked at; allow iam:GetInstanceProfile"
    if not filled:
        lacking = "no instance profile" if filled is None else "no role in the instance profile"
        return f"texts stay on the server: there is {lacking} {profile}; gputx setup makes it"
    return Results(f"s3://{name}/{PREFIX}", region, profile)
