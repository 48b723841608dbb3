"""Who is calling, and from which address."""

from __future__ import annotations

import ipaddress
import urllib.error
import urllib.request
from dataclasses import dataclass

from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError


@dataclass(frozen=True)
class Identity:
    """The account's twelve digits and the caller's ARN."""

    account: str
    arn: str


def whoami(session: AwsSession) -> Identity:
    """Raises ConfigurationError where there are no credentials, AwsError where they are refused."""
    answer = session.call("sts", "GetCallerIdentity")
    return Identity(account=answer["Account"], arn=answer["Arn"])


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
