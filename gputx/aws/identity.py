"""Who is calling, and from which address."""

from __future__ import annotations

import ipaddress
import re
import urllib.error
import urllib.request
from dataclasses import dataclass

from botocore.exceptions import NoCredentialsError

from gputx.aws.errors import no_credentials
from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError

_NAMED_BY_THE_CLOCK = re.compile(r"(:assumed-role/.+)/botocore-session-\d+\Z")


@dataclass(frozen=True)
class Identity:
    """The account's twelve digits and the caller's ARN, the same in every process of theirs (:func:`lasting`)."""

    account: str
    arn: str


def whoami(session: AwsSession) -> Identity:
    """Raises ConfigurationError where there are no credentials, AwsError where they are refused."""
    answer = session.call("sts", "GetCallerIdentity")
    return Identity(account=answer["Account"], arn=lasting(answer["Arn"]))


@dataclass(frozen=True)
class Origin:
    """Where credentials come from, in botocore's words, and when they end: seconds since the epoch, None for never."""

    method: str
    ends_at: float | None

    def __str__(self) -> str:
        return _ORIGINS.get(self.method, self.method)


_ORIGINS = {
    "env": "environment",
    "explicit": "its own keys",
    "shared-credentials-file": "credentials file",
    "config-file": "config file",
    "assume-role": "assumed role",
    "assume-role-with-web-identity": "web identity",
    "sso": "SSO",
    "login": "aws login",
    "custom-process": "credential process",
    "container-role": "container role",
    "iam-role": "instance role",
}
"""botocore's names of its providers, as people call them."""


def origin(session: AwsSession) -> Origin:
    """Where the session's credentials come from. Asks AWS nothing that :func:`whoami` has not asked.

    Raises:
        ConfigurationError: there are none.
    """
    found = session.credentials()
    if found is None:
        raise no_credentials(NoCredentialsError())
    expiry = getattr(found, "_expiry_time", None)
    return Origin(str(found.method), expiry.timestamp() if expiry else None)


def lasting(arn: str) -> str:
    """The ARN without a session name that botocore made up from the time: the role itself is the caller then.

    A profile that assumes a role and does not name its sessions has another one in every process.
    """
    return _NAMED_BY_THE_CLOCK.sub(r"\1", arn)


def public_cidr(session: AwsSession) -> str:
    """This machine's public IPv4 address as a /32, as AWS sees it.

    Raises:
        ConfigurationError: AWS's checkip service does not answer with an address.
    """
    try:
        handlers = [urllib.request.ProxyHandler({})] if session.emulated else []
        with urllib.request.build_opener(*handlers).open(session.checkip_url, timeout=5) as answer:
            text = answer.read(64).decode("ascii").strip()
        return f"{ipaddress.IPv4Address(text)}/32"
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise ConfigurationError(
            f"this machine's public address could not be found at {session.checkip_url}: {error}",
            hint="say it yourself: --allow-cidr 203.0.113.7/32",
        ) from None
