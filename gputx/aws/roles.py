"""Roles of the account that ``gputx setup`` makes, each with one policy of its own; an instance's profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gputx.aws import tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.part import Found, Part, Standing, unless_gone
from gputx.aws.patience import patiently
from gputx.aws.session import AwsSession
from gputx.errors import GputxError

POLICY = "gputx"
"""The name of our policy in each role. What others attach to a role of ours is left alone."""
_TRUST, _POLICY, _ROLE_INSIDE = "trust", "policy", "role inside"


def in_profile(session: AwsSession, name: str) -> bool | None:
    """Whether a role is in an instance profile; None where there is no such profile. Raises AwsError."""
    answer = unless_gone(lambda: session.call("iam", "GetInstanceProfile", InstanceProfileName=name))
    return None if answer is None else bool(answer["InstanceProfile"]["Roles"])


@dataclass(frozen=True)
class Role(Part):
    """A role that whom ``trust`` names may assume, and that may do what ``policy`` says.

    Where a document of it differs from ours it is made ours again: it is what this version of gputx needs, and no more.
    """

    kind: ClassVar[str] = "role"
    everywhere: ClassVar[bool] = True
    description: str
    trust: Mapping[str, Any]
    policy: Mapping[str, Any]

    def look(self, session: AwsSession) -> Found:
        answer = unless_gone(lambda: session.call("iam", "GetRole", RoleName=self.name))
        if answer is None:
            return Found(Standing.ABSENT)
        role = answer["Role"]
        if tags.SETUP not in tags.read(role.get("Tags")):
            return Found(
                Standing.FOREIGN,
                f"a person made it (no tag {tags.SETUP})",
                ours=False,
                remedy=f"aws iam tag-role --role-name {self.name} --tags Key={tags.SETUP},Value=1",
            )
        said = unless_gone(lambda: session.call("iam", "GetRolePolicy", RoleName=self.name, PolicyName=POLICY))
        lacking = [_TRUST] if role["AssumeRolePolicyDocument"] != self.trust else []
        lacking += [_POLICY] if said is None or said["PolicyDocument"] != self.policy else []
        return Found(Standing.PARTLY if lacking else Standing.WHOLE, lacking=tuple(lacking))

    def make(self, session: AwsSession, found: Found) -> None:
        stands = self._create(session, lambda: self._make_role(session), found)
        if _TRUST in stands.lacking:
            document = json.dumps(self.trust)
            session.call("iam", "UpdateAssumeRolePolicy", RoleName=self.name, PolicyDocument=document)
        if _POLICY in stands.lacking:
            document = json.dumps(self.policy)
            put: dict[str, Any] = {"RoleName": self.name, "PolicyName": POLICY, "PolicyDocument": document}
            patiently(session.clock, lambda: session.call("iam", "PutRolePolicy", **put))

    def unmake(self, session: AwsSession) -> None:
        unless_gone(lambda: session.call("iam", "DeleteRolePolicy", RoleName=self.name, PolicyName=POLICY))
        try:
            unless_gone(lambda: session.call("iam", "DeleteRole", RoleName=self.name))
        except AwsError as error:
            if error.meaning is Meaning.IN_USE:
                raise GputxError(
                    f"role {self.name} has policies or profiles that gputx did not give it",
                    hint=f"aws iam list-attached-role-policies --role-name {self.name}",
                ) from error
            raise

    def _make_role(self, session: AwsSession) -> None:
        session.call(
            "iam",
            "CreateRole",
            RoleName=self.name,
            AssumeRolePolicyDocument=json.dumps(self.trust),
            Description=self.description,
            Tags=tags.listed(tags.MADE_BY_SETUP),
        )


@dataclass(frozen=True)
class InstanceProfile(Part):
    """What hands a role of the same name to an instance."""

    kind: ClassVar[str] = "instance profile"
    everywhere: ClassVar[bool] = True

    def look(self, session: AwsSession) -> Found:
        answer = unless_gone(lambda: session.call("iam", "GetInstanceProfile", InstanceProfileName=self.name))
        if answer is None:
            return Found(Standing.ABSENT)
        profile = answer["InstanceProfile"]
        if tags.SETUP not in tags.read(profile.get("Tags")):
            return Found(
                Standing.FOREIGN,
                f"a person made it (no tag {tags.SETUP})",
                ours=False,
                remedy=f"aws iam tag-instance-profile --instance-profile-name {self.name} "
                f"--tags Key={tags.SETUP},Value=1",
            )
        # It holds one role at most.
        if self.name in {role["RoleName"] for role in profile["Roles"]}:
            return Found(Standing.WHOLE)
        return Found(Standing.PARTLY, lacking=(_ROLE_INSIDE,))

    def make(self, session: AwsSession, found: Found) -> None:
        named: dict[str, Any] = {"InstanceProfileName": self.name}
        create: dict[str, Any] = {**named, "Tags": tags.listed(tags.MADE_BY_SETUP)}
        stands = self._create(session, lambda: session.call("iam", "CreateInstanceProfile", **create), found)
        if stands.lacking:
            add: dict[str, Any] = {**named, "RoleName": self.name}
            # A role that was made just now may not be known to it for some seconds.
            patiently(session.clock, lambda: session.call("iam", "AddRoleToInstanceProfile", **add))

    def unmake(self, session: AwsSession) -> None:
        named: dict[str, Any] = {"InstanceProfileName": self.name}
        unless_gone(lambda: session.call("iam", "RemoveRoleFromInstanceProfile", **named, RoleName=self.name))
        unless_gone(lambda: session.call("iam", "DeleteInstanceProfile", **named))
