"""The service-linked role that spot needs. AWS makes it by itself where whoever first asks for spot may have it made.

It can't be made with a tag, so that it is ours is written down beforehand, in a tag on our scheduler's role: a role
that appeared within minutes of that was made by us. Its own tag follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gputx.aws import schedule, tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.part import Found, Part, Standing, unless_gone
from gputx.aws.patience import patiently
from gputx.aws.session import AwsSession
from gputx.errors import GputxError

NAME = "AWSServiceRoleForEC2Spot"
SERVICE = "spot.amazonaws.com"
_ASKED = "gputx:spot-role-asked-for"
_TAG = "tag"
_WINDOW_SECONDS = 300.0
"""After the note, a role that appeared is taken to be ours: the call follows it within seconds."""
_TAKEN = "InvalidInput"
"""What IAM answers where the role is there: 'has been taken in this account'."""
_LOOKS, _PAUSE_SECONDS = 30, 2.0


@dataclass(frozen=True)
class SpotRole(Part):
    """Made once for an account, for every region."""

    kind: ClassVar[str] = "service-linked role"
    everywhere: ClassVar[bool] = True
    name: str = NAME

    def look(self, session: AwsSession) -> Found:
        answer = unless_gone(lambda: session.call("iam", "GetRole", RoleName=NAME))
        if answer is None:
            return Found(Standing.ABSENT)
        if tags.SETUP in tags.read(answer["Role"].get("Tags")):
            return Found(Standing.WHOLE)
        made, asked = answer["Role"]["CreateDate"].timestamp(), self._asked(session)
        if asked is not None and asked <= made <= asked + _WINDOW_SECONDS:
            return Found(Standing.PARTLY, lacking=(_TAG,))
        return Found(Standing.WHOLE, "AWS made it when spot was first used here", ours=False)

    def make(self, session: AwsSession, found: Found) -> None:
        made = found.standing is Standing.ABSENT and self._make_role(session)
        if made or self._shown(session).lacking:
            ours = tags.listed(tags.MADE_BY_SETUP)
            patiently(session.clock, lambda: session.call("iam", "TagRole", RoleName=NAME, Tags=ours))

    def unmake(self, session: AwsSession) -> None:
        """Ask for its end, and see it: AWS first looks whether any spot instance or request still needs it."""
        answer = unless_gone(lambda: session.call("iam", "DeleteServiceLinkedRole", RoleName=NAME))
        if answer is None:
            return
        for _ in range(_LOOKS):
            task = {"DeletionTaskId": answer["DeletionTaskId"]}
            said = session.call("iam", "GetServiceLinkedRoleDeletionStatus", **task)
            if said["Status"] == "SUCCEEDED":
                return
            if said["Status"] == "FAILED":
                why = said.get("Reason", {}).get("Reason", "AWS gives no reason")
                raise GputxError(f"{NAME} is still needed: {why}", hint="it costs nothing and may stay")
            session.clock.sleep(_PAUSE_SECONDS)
        raise GputxError(f"AWS is still looking whether {NAME} is needed", hint="gputx teardown looks again")

    def _make_role(self, session: AwsSession) -> bool:
        """Whether it is known to be of our making: else it was there by then, or an answer was lost."""
        if tags.SETUP in self._notes(session):  # a person's role is not for our notes
            # IAM's dates have whole seconds.
            now = tags.stamp_of(session.clock.time())
            session.call("iam", "TagRole", RoleName=schedule.ROLE, Tags=tags.listed({_ASKED: now}))
        try:
            session.call("iam", "CreateServiceLinkedRole", AWSServiceName=SERVICE)
        except AwsError as error:
            if error.code != _TAKEN and error.meaning is not Meaning.EXISTS:
                raise
            return False
        return True

    def _asked(self, session: AwsSession) -> float | None:
        """When setup last asked for it, in seconds since the epoch."""
        return tags.time_of(self._notes(session), _ASKED)

    def _notes(self, session: AwsSession) -> dict[str, str]:
        """The tags of our scheduler's role."""
        answer = unless_gone(lambda: session.call("iam", "GetRole", RoleName=schedule.ROLE)) or {}
        return tags.read(answer.get("Role", {}).get("Tags"))
