"""``gputx iam``: the permissions that gputx needs, as policies for one account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gputx import iam
from gputx.aws import identity
from gputx.errors import ConfigurationError
from gputx.workflows.place import open_place


@dataclass(frozen=True)
class Names:
    """What a policy is filled in with. None: what gputx would use there."""

    on: str
    region: str
    profile: str | None
    account: str | None
    """Twelve digits; None: that of the credentials in use."""

    only_region: bool
    """Whether to allow things in ``region`` alone."""

    bucket: str | None
    instance_role: str


def policy(name: str, names: Names, *, trust: bool = False) -> dict[str, Any]:
    """A policy that can be put into the account as it is.

    Args:
        name: as ``gputx.iam.document`` has it; with ``trust`` a role's.

    Raises:
        InputError: there is no such policy.
        ConfigurationError: nobody said which account, and there are no credentials to ask with.
        AwsError: AWS refuses to say whose they are.
    """
    template = iam.trust_template(name) if trust else iam.template(name)
    return iam.fill(template, _values(names))


def _values(names: Names) -> Mapping[str, str]:
    account = names.account or _account(names)
    return {
        "Account": account,
        "Region": names.region if names.only_region else "*",
        "Bucket": names.bucket or f"transcription-{account}",
        "InstanceRole": names.instance_role,
    }


def _account(names: Names) -> str:
    try:
        with open_place(names.on, region=names.region, profile=names.profile) as place:
            return identity.whoami(place.session).account
    except ConfigurationError as error:
        raise ConfigurationError(
            error.message, details=error.details, hint="say which account it is for: --account 123456789012"
        ) from error
