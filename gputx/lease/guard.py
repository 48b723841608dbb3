"""The guard of one run: it knows what may exist, and ends it in the order that leaves nothing behind.

What it ends is found by the run's tag as well as by memory, because a launch whose answer was lost left
nothing to remember. The order matters: first the key (a launch that lands late then fails), then the
instance, seen to be ending, then the security group, freed by moving the instance out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from gputx.clock import Clock
from gputx.errors import GputxError, StillRunningError
from gputx.models import Attempt, Instance

_PATIENCE_SECONDS = 120.0
"""How long the end is asked for before the person is told that it could not be confirmed."""

_VISIBILITY_SECONDS = 20.0
"""How long a launch without an answer is looked for. It is fenced by then, and its own deadline remains."""

_TIDYING_SECONDS = 5.0
"""How long the deletion of a key and a group is insisted on, once nothing runs any more."""

_SAY_EVERY_SECONDS = 15.0

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0


class Custody(Protocol):
    """What the guard needs of an account. Every call may raise GputxError and may be repeated."""

    def instances(self, run_id: str) -> Sequence[Instance]:
        """All instances tagged with the run, as far as they are visible yet."""

    def terminate(self, instance_id: str) -> bool:
        """Ask for the end; True once it was seen to have begun."""

    def ending_command(self, instance_id: str) -> str:
        """What a person can paste to end an instance by hand. Asks nobody."""

    def delete_key(self, run_id: str) -> None:
        """Delete the run's key pair; nothing to delete is no error."""

    def release_group(self, instance: Instance) -> bool:
        """Move a live instance out of its run's security group, so that the group need not wait for its end."""

    def delete_groups(self, run_id: str) -> bool:
        """Delete the run's security groups; False where one is still held."""


class Guard:
    """Remembers what was asked for under one run id, and ends it."""

    def __init__(
        self, *, run_id: str, custody: Custody, clock: Clock, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """``say`` is told what stands in the way, from time to time while the end is insisted on."""
        self.run_id = run_id
        self._say = say
        self._custody = custody
        self._clock = clock
        self._armed = False
        self._known: dict[str, Instance] = {}
        self._ended: dict[str, Instance] = {}
        self._unanswered: set[str] = set()
        self._last_failure = "its end was not seen"
        self.left: tuple[str, ...] = ()
        """What ``end`` had to leave: "key pair", "security group". Neither costs anything."""

    @property
    def ended(self) -> tuple[str, ...]:
        """Ids of the instances whose end was seen."""
        return tuple(self._ended)

    def arm(self) -> None:
        """From now on there may be something to end. Called before the first thing is made."""
        self._armed = True

    def launching(self, token: str) -> None:
        """A launch is about to be sent under this token."""
        self._unanswered.add(token)

    def answered(self, attempt: Attempt, token: str) -> None:
        """The launch has been answered; one whose answer was lost stays open."""
        if attempt.answered:
            self._unanswered.discard(token)

    def launched(self, instance: Instance) -> None:
        """This instance exists."""
        self._known[instance.id] = instance

    def end(self) -> None:
        """End everything of this run. Safe to call again; does nothing where nothing was made.

        Raises:
            StillRunningError: an end could not be confirmed; it names the ids and the command.
        """
        if not self._armed:
            return
        give_up = self._clock.time() + _PATIENCE_SECONDS
        # Once, and on: a key that can't be deleted must not use up the time in which the instance is ended.
        key_gone = self._once(self._delete_key)
        looked = self._look_for_lost_launches(give_up)
        for id_, instance in self._known.items():
            if id_ not in self._ended and self._insist(give_up, partial(self._terminate, instance)):
                self._ended[id_] = instance
        still_open = [id_ for id_ in self._known if id_ not in self._ended]
        if still_open or self._unanswered or not looked:
            raise self._unconfirmed(still_open)
        # What can't be deleted now costs nothing: the sweep of a later command takes it after its deadline.
        key_gone = key_gone or self._insist(self._clock.time() + _TIDYING_SECONDS, self._delete_key)
        groups_gone = self._insist(
            self._clock.time() + _TIDYING_SECONDS, partial(self._custody.delete_groups, self.run_id)
        )
        self.left = tuple(kind for kind, gone in (("key pair", key_gone), ("security group", groups_gone)) if not gone)
        self._armed = bool(self.left)

    def _terminate(self, instance: Instance) -> bool:
        """Free the run's group and ask for the end; an instance that has begun to end may no longer be moved."""
        self._once(partial(self._custody.release_group, instance))
        return self._custody.terminate(instance.id)

    def _delete_key(self) -> bool:
        self._custody.delete_key(self.run_id)
        return True

    def _look_for_lost_launches(self, give_up: float) -> bool:
        """Learn what the account shows under our tag, waiting a little where a launch got no answer."""
        until = self._clock.time() + _VISIBILITY_SECONDS
        while True:
            if not self._insist(give_up, self._remember_visible):
                return False
            if not self._unanswered or self._clock.time() >= min(until, give_up):
                return True
            self._clock.sleep(1.0)

    def _remember_visible(self) -> bool:
        for instance in self._custody.instances(self.run_id):
            self._known.setdefault(instance.id, instance)
            if not instance.live:
                self._ended.setdefault(instance.id, instance)
            self._unanswered.discard(instance.token or "")
        return True

    def _insist(self, give_up: float, step: Callable[[], bool]) -> bool:
        """Repeat ``step`` with growing pauses until it is true; False when time is up."""
        pause = _FIRST_PAUSE
        say_at = self._clock.time() + _SAY_EVERY_SECONDS
        while not self._once(step):
            now = self._clock.time()
            if now + pause > give_up:
                return False
            if now >= say_at:
                self._say(f"still at it, for {give_up - now:.0f} s more: {self._last_failure}")
                say_at = now + _SAY_EVERY_SECONDS
            self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return True

    def _once(self, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except GputxError as error:
            self._last_failure = error.message
        except Exception as error:  # noqa: BLE001 - a bug in reading an answer must not leave an instance running
            self._last_failure = f"{type(error).__name__}: {error}"
        return False

    def _unconfirmed(self, ids: Sequence[str]) -> StillRunningError:
        what = ", ".join(ids) or f"a launch of run {self.run_id} that got no answer"
        commands = "; ".join(self._custody.ending_command(id_) for id_ in ids)
        return StillRunningError(
            f"could not confirm that {what} has ended ({self._last_failure})",
            details=("it powers itself off at its deadline (--ttl) at the latest",),
            hint=commands or "`gputx ps` shows it once AWS answers",
        )
