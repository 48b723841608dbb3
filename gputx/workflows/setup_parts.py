"""What ``gputx setup`` makes in an account, part by part: the one list that setup, teardown and doctor go by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gputx import iam
from gputx.aws import budget, log_groups, schedule
from gputx.aws.bucket import ResultsBucket
from gputx.aws.budget import Budget
from gputx.aws.log_groups import LogGroup
from gputx.aws.part import Found, Part, Standing
from gputx.aws.quota_request import QuotaRequest
from gputx.aws.roles import InstanceProfile, Role
from gputx.aws.schedule_group import ScheduleGroup
from gputx.aws.session import AwsSession
from gputx.aws.spot_role import SpotRole
from gputx.errors import GputxError, InputError
from gputx.models import Market

__all__ = ["Found", "Part", "Sighting", "Standing", "Wanted", "look_at", "parts"]

NO_BUCKET = "none"
_ASKED_AT_ONCE = 6
# Source: "General purpose bucket naming rules" of S3, and the pattern of RoleName in IAM's API reference.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ROLE = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """What an account should have.

    Attributes:
        bucket: its name, None for ``transcription-<account id>``, "none" for no bucket.
        instance_role: the name of the instances' role and of its profile.
        markets: whose quotas matter.
        vcpus: of the smallest instance that may be launched.
        budget: USD a month; 0 for no budget, None where nobody chose: 100 for a new one.
        email: where the budget's alerts go; None where nobody said.
    """

    bucket: str | None = None
    instance_role: str = iam.INSTANCE_ROLE
    markets: tuple[Market, ...] = (Market.SPOT, Market.ON_DEMAND)
    vcpus: int = 4
    budget: float | None = None
    email: str | None = None


@dataclass(frozen=True)
class Sighting:
    """A part, and how it stands; ``error`` where it could not be looked at."""

    part: Part
    found: Found | None
    error: GputxError | None = None


def parts(wanted: Wanted, account: str) -> list[Part]:
    """All parts, in the order in which they are made: each after what it needs. They go in the opposite order.

    Args:
        account: the account's twelve digits.

    Raises:
        InputError: a name that AWS takes for no bucket or no role.
    """
    _check_names(wanted)
    by_default = f"transcription-{account}"
    bucket = by_default if wanted.bucket in {None, NO_BUCKET} else str(wanted.bucket)
    values = {"Account": account, "Bucket": bucket, "InstanceRole": wanted.instance_role}
    found: list[Part] = [] if wanted.bucket == NO_BUCKET else [ResultsBucket(bucket, account)]
    found += [
        _role(schedule.ROLE, "scheduler", values, "Ends instances of gputx whose client is gone"),
        SpotRole(),
        _role(wanted.instance_role, "instance", values, "What an instance of gputx may do: put results, write logs"),
        InstanceProfile(wanted.instance_role),
        ScheduleGroup(),
        *(LogGroup(name) for name in log_groups.NAMES),
    ]
    if wanted.budget != 0:
        found.append(Budget(budget.NAME, account, dollars=wanted.budget, email=wanted.email))
    found += [QuotaRequest(f"{market} GPU vCPUs", market, wanted.vcpus) for market in wanted.markets]
    return found


def look_at(session: AwsSession, wanted: Sequence[Part]) -> list[Sighting]:
    """How each part stands, asked for side by side. Changes nothing.

    Raises:
        ConfigurationError: there are no usable credentials.
    """
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="look") as together:
        return list(together.map(lambda part: _look(session, part), wanted))


def _check_names(wanted: Wanted) -> None:
    if wanted.bucket is not None and not _BUCKET.fullmatch(wanted.bucket):
        raise InputError(
            f"a bucket can't be called {wanted.bucket!r}", hint="3 to 63 small letters, digits, hyphens, and dots"
        )
    if not _ROLE.fullmatch(wanted.instance_role):
        raise InputError(
            f"a role can't be called {wanted.instance_role!r}", hint="up to 64 letters, digits, and any of +=,.@_-"
        )


def _look(session: AwsSession, part: Part) -> Sighting:
    try:
        return Sighting(part, part.look(session))
    except GputxError as error:
        if error.renewable:
            raise
        return Sighting(part, None, error)


def _role(name: str, policy: str, values: dict[str, str], description: str) -> Role:
    return Role(name, description, iam.trust(policy, values), iam.document(policy, values))
