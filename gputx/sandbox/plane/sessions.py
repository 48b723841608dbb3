"""The roles of instances: the temporary credentials that the metadata service hands out, and what they open.

Source: "Retrieve security credentials from instance metadata" in EC2's user guide, and IAM's on policy variables.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gputx.sandbox.plane import emulator, need_ec2, need_others, roles
from gputx.sandbox.plane.calls import Call
from gputx.sandbox.plane.machine import Machine
from gputx.sandbox.plane.need import Need
from gputx.sandbox.plane.wire import AwsError
from gputx.sandbox.timers import Timer, Timers

LIFE_SECONDS = 6 * 3600.0
RENEWED_SECONDS = 600.0
"""How long before the end there are new ones: EC2 promises five minutes."""
_CREDENTIALS = "iam/security-credentials/"


@dataclass(frozen=True)
class Session:
    """A role, assumed by EC2 for one instance.

    Attributes:
        user_id: ``aws:userid``, the role's id and the instance's: ``AROA…:i-…``.
        ends: seconds since the epoch on the account's clock.
    """

    role: str
    role_arn: str
    user_id: str
    arn: str
    token: str
    ends: float

    def judge(self, needs: list[Need], service: str) -> None:
        """Hold what a call needs against the role's policies as they are now.

        Raises:
            AwsError: they do not allow it.
        """
        for need in needs:
            if not roles.session_allows(self.role_arn, need, user_id=self.user_id):
                raise AwsError(
                    "UnauthorizedOperation" if service == "ec2" else "AccessDenied",
                    f"User: {self.arn} is not authorized to perform: {need.action} on resource: {need.resource} "
                    f"because no identity-based policy allows the {need.action} action",
                    403,
                )


class Sessions:
    """All that were ever begun. They outlive their instances, as on AWS. Called under the account's lock."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._by_key: dict[str, Session] = {}
        self._renewals: dict[str, Timer] = {}

    def of(self, call: Call) -> Session | None:
        """Whose credentials signed a call; None where they are no session's.

        Raises:
            AwsError: they have expired, or the token that belongs to them is missing or another.
        """
        session = self._by_key.get(call.access_key or "")
        if session is None:
            return None
        if not hmac.compare_digest(call.token.encode(), session.token.encode()):
            code = {"ec2": "AuthFailure", "s3": "InvalidToken"}.get(call.service, "InvalidClientTokenId")
            raise AwsError(code, "The provided token is malformed or otherwise invalid.", 403)
        if self._timers.now() >= session.ends:
            code, status = {"ec2": ("RequestExpired", 400), "s3": ("ExpiredToken", 400)}.get(
                call.service, ("ExpiredToken", 403)
            )
            raise AwsError(code, "The provided token has expired.", status)
        return session

    def metadata(self, machine: Machine) -> dict[str, object]:
        """What the metadata service tells a guest that boots now of its profile and role; renewed while it runs."""
        profile = emulator.profile_of(machine.backend, machine.id)
        if profile is None:
            return {}
        told: dict[str, object] = {
            "iam/info": {
                "Code": "Success",
                "LastUpdated": _stamp(self._timers.now()),
                "InstanceProfileArn": profile.arn,
                "InstanceProfileId": profile.id,
            }
        }
        return told | self._credentials(machine, profile)

    def _credentials(self, machine: Machine, profile: Any) -> dict[str, object]:
        """Fresh ones by their path, and when they are renewed; none where no role is in the profile."""
        if machine.id in self._renewals:
            self._renewals.pop(machine.id).cancel()
        if not profile.roles:
            return {}
        role, now = profile.roles[0], self._timers.now()
        assumed = emulator.assume(role.arn, machine.id, LIFE_SECONDS)
        ends = now + LIFE_SECONDS
        session = Session(role.name, role.arn, assumed.user_id, assumed.arn, assumed.session_token, ends)
        self._by_key[assumed.access_key_id] = session
        self._renewals[machine.id] = self._timers.at(ends - RENEWED_SECONDS, lambda _: self._renew(machine, profile))
        said = {
            "Code": "Success",
            "LastUpdated": _stamp(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": assumed.access_key_id,
            "SecretAccessKey": assumed.secret_access_key,
            "Token": assumed.session_token,
            "Expiration": _stamp(ends),
        }
        return {_CREDENTIALS + role.name: said}

    def _renew(self, machine: Machine, profile: Any) -> None:
        if machine.state == "running" and machine.guest:
            for path, said in self._credentials(machine, profile).items():
                machine.guest.set_metadata(path, said)


def needs_of(call: Call) -> list[Need]:
    """What IAM would be asked for a call."""
    asked: Callable[[Call], list[Need]] = need_ec2.needs if call.service == "ec2" else need_others.needs
    return asked(call)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
