"""What ending things needs: an account that can be asked to, and patience with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gputx.models import Instance

MARGIN_SECONDS = 360.0
"""Past a deadline by this much a thing is overdue. Its own deadline fires first; and the clocks of two machines may
differ by the five minutes that AWS's signatures allow (IAM User Guide, "Elements of an AWS API request signature").
"""


@dataclass(frozen=True)
class Patience:
    """How long an end is insisted on, in seconds.

    Attributes:
        end: how long the end is asked for before the person is told that it could not be confirmed.
        credentials: how much longer where they have expired: somebody has to renew them first.
        lost: how long a launch without an answer is looked for. It is fenced by then, and its deadline remains.
        tidying: how long the deletion of what costs nothing is insisted on, once nothing runs any more.
    """

    end: float = 120.0
    credentials: float = 600.0
    lost: float = 20.0
    tidying: float = 5.0


class Custody(Protocol):
    """What the guard needs of an account. Every call may raise GputxError and may be repeated."""

    def instances(self, run_id: str) -> Sequence[Instance]:
        """All instances tagged with the run, as far as they are visible yet."""

    def terminate(self, instance_id: str) -> bool:
        """Ask for the end; True once it was seen to have begun."""

    def disowned(self, instance_id: str) -> bool:
        """Whether the account shows the instance alive and without our tag: somebody has taken it over."""

    def ending_command(self, instance_id: str) -> str:
        """What a person can paste to end an instance by hand. Asks nobody."""

    def renew(self) -> None:
        """Look for new credentials, where those in use have expired. Asks nobody, and may find none."""

    def delete_key(self, run_id: str) -> None:
        """Delete the run's key pair; nothing to delete is no error."""

    def release_group(self, instance: Instance) -> bool:
        """Move a live instance out of its run's security group, so that the group need not wait for its end."""

    def delete_groups(self, run_id: str) -> bool:
        """Delete the run's security groups; False where one is still held."""

    def delete_schedule(self, run_id: str) -> None:
        """Delete the schedule that would end the run's instance; nothing to delete is no error."""

    def delete_images(self, run_id: str) -> int:
        """Deregister the run's unfinished images and delete their snapshots; how many were still to be seen.

        Those that have been finished are left alone, with what they are made of.
        """
