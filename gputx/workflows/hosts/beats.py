"""What a living client says: to the instance over SSH, and to the account by moving the schedule that would end it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from gputx.aws import instances, schedule
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.session import AwsSession
from gputx.aws.tags import Stamp
from gputx.aws.userdata import BEAT_FILE, DONE_FILE
from gputx.errors import GputxError
from gputx.lease.guard import Guard
from gputx.models import Kind

if TYPE_CHECKING:
    from gputx.ssh.connection import Connection

BEHIND_SECONDS = 120.0
"""How far the schedule stands behind the watchdog and the deadline: those fire first where they work."""

_ANSWER_SECONDS = 10.0


class AccountBeat:
    """A sign of life to the account: the first one arms its schedule, each later one moves it on.

    The schedule stands a little behind the instance's own watchdog, and never past the deadline: it is the lock for
    an instance whose watchdog does not work.

    Args:
        role: the role that the schedule acts as; None where the account has none.
        grace: seconds without a sign of life after which the instance ends.
        warn: told where the account refuses the schedule.
    """

    def __init__(
        self,
        session: AwsSession,
        guard: Guard,
        stamp: Stamp,
        *,
        instance_id: str,
        role: str | None,
        grace: float,
        warn: Callable[[str], None],
    ) -> None:
        self._session = session
        self._guard = guard
        self._stamp = stamp
        self._instance_id = instance_id
        self._role = role
        self._grace = grace
        self._warn = warn
        self._armed = False
        self._until: float | None = None

    def stay(self, until: float) -> None:
        """Let the instance be until then, in seconds since the epoch, whether or not anybody is heard of.

        Raises:
            AwsError: the schedule could not be moved, and would end the instance before.
        """
        self._until = until
        self._move_schedule()

    def __call__(self, number: int) -> None:
        """Raises AwsError; ConfigurationError where the journal can't be written."""
        try:
            self._move_schedule()
        finally:
            if number > 0:  # a new instance is taken to be alive in any case
                instances.tell_alive(self._session, self._instance_id)

    def _move_schedule(self) -> None:
        if self._role:
            now = self._session.clock.time()
            at = self._until or min(self._guard.deadline, now + self._grace)
            at += BEHIND_SECONDS
            parameters = schedule.request(stamp=self._stamp, instance_id=self._instance_id, role_arn=self._role, at=at)
            if self._armed:
                schedule.move(self._session, parameters)
            else:
                name = schedule.name_of(self._stamp.run_id)
                self._guard.making(Kind.SCHEDULE, name)
                try:
                    schedule.create(self._session, parameters)
                except AwsError as error:
                    if error.meaning in {Meaning.DENIED, Meaning.GONE, Meaning.FATAL}:
                        # It won't go better the next time, and the other signs of life are given all the same.
                        self._role = None
                        self._warn(f"the account's own lock is off: {error.message}")
                        return
                    raise
                self._armed = True
                self._guard.made(Kind.SCHEDULE, name)
                if self._guard.over:
                    # Its answer took longer than the rest of the run: nobody else would take it away now.
                    schedule.delete(self._session, name)


def beat_over(connection: Connection, number: int) -> None:
    """A sign of life to the instance's watchdog: anything that was not there before. Raises GputxError."""
    connection.run(f"echo {number} > {BEAT_FILE}", timeout=_ANSWER_SECONDS)


def say_done(connection: Connection) -> None:
    """Let the watchdog end the instance now. Nothing is lost where it does not hear it: it is ended by us, too."""
    with contextlib.suppress(GputxError):
        connection.run(f": > {DONE_FILE}", timeout=_ANSWER_SECONDS)
