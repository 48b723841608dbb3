"""The guard of one run: it knows what may exist, and ends it in the order that leaves nothing behind.

What may exist is in the journal before it is asked for (:mod:`gputx.lease.record`), and what does exist is found by
the run's tag as well as by memory, because a launch whose answer was lost left nothing to remember. The order
matters: first the key (a launch that lands late then fails), then the instance, seen to be ending, then the security
group, freed by moving the instance out of it. A later process resumes a guard from the journal and ends what a dead
one left, by the same steps; neither ever sends a launch again to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

from gputx.clock import Clock
from gputx.errors import GputxError, StillRunningError
from gputx.lease.custody import MARGIN_SECONDS, Custody, Patience
from gputx.lease.journal import Entry, State
from gputx.lease.record import RunRecord
from gputx.models import Attempt, Instance, Kind

_SAY_EVERY_SECONDS = 15.0

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0

IMAGE_SEEN_SECONDS = 600.0
"""An image that nobody sees so long after it was asked for never came to be. EC2 is eventually consistent, which it
puts at seconds; and one that lands later all the same carries our tag and its deadline, by which `gputx reap` ends it.
"""


class Guard:
    """Remembers what was asked for under one run id, and ends it, but for what was finished or is to be kept."""

    def __init__(
        self,
        *,
        record: RunRecord,
        custody: Custody,
        clock: Clock,
        say: Callable[[str], None] = lambda _: None,
        patience: Patience | None = None,
    ) -> None:
        """``say`` is told what stands in the way, from time to time while the end is insisted on."""
        self.run_id = record.run_id
        self._record = record
        self._say = say
        self._custody = custody
        self._clock = clock
        self._patience = patience or Patience()
        self._armed = False
        self._launched_any = False
        self._made: set[Kind] = set()
        self._known: dict[str, Instance | None] = {}
        self._tokens: dict[str, str] = {}
        self._ended: list[str] = []
        self._unanswered: set[str] = set()
        self._image_asked: float | None = None
        """When an image was asked for of which nothing has been seen yet."""
        self._expired = False
        self._troubled = False
        self._last_failure = "its end was not seen"
        self.terminated: list[str] = []
        """Ids of those that had not begun to end by themselves."""
        self.tidied: list[Kind] = []
        """What ``end`` took away beside instances."""
        self.left: tuple[str, ...] = ()
        """What ``end`` had to leave: kinds of things. Of them only an image costs anything: its snapshot's storage."""

    @property
    def ended(self) -> tuple[str, ...]:
        """Ids of the instances whose end was seen."""
        return tuple(self._ended)

    @property
    def over(self) -> bool:
        """Whether nothing of the run is left to end, or nothing was ever made."""
        return not self._armed

    def holds(self, kind: Kind) -> bool:
        """Whether something of this kind was asked for, and is not known to be gone, refused or finished."""
        return kind in self._made

    @property
    def deadline(self) -> float:
        """Seconds since the epoch; whatever happens, the instance is gone soon after."""
        return self._record.deadline

    @property
    def journal_id(self) -> str:
        """What is tagged with it is in our journal. Raises ConfigurationError."""
        return self._record.journal_id

    def arm(self) -> None:
        """From now on there may be something to end. Called before the first thing is made.

        Raises:
            ConfigurationError: the journal can't be written, so nothing may be made.
        """
        self._record.hold()
        self._armed = True

    def making(self, kind: Kind, name: str) -> None:
        """One key pair, security group or schedule of this name is about to be asked for. Raises as :meth:`arm`."""
        self._record.will_make(kind, name=name, sent=True)
        self._made.add(kind)
        if kind is Kind.IMAGE:
            self._image_asked = self._clock.time()

    def made(self, kind: Kind, resource: str) -> None:
        """It exists, under this id."""
        self._record.known(kind, resource)
        if kind is Kind.IMAGE:
            self._image_asked = None

    def refused(self, kind: Kind) -> None:
        """It was not made: the account has said so."""
        self._record.gone(kind)
        self._made.discard(kind)

    def finished(self, kind: Kind) -> None:
        """It is done, and is to stay in the account for good: nobody's to end any more."""
        self._record.gone(kind)
        self._made.discard(kind)

    def keep(self, until: float) -> None:
        """Leave everything as it is, and let go of the run: it ends at that time, in seconds since the epoch.

        Raises:
            ConfigurationError: that can't be written down; then the guard is armed as before.
        """
        self._record.keep(until)
        self._armed = False
        self._record.close()

    def launching(self, token: str) -> None:
        """A launch is to be sent under this token. Raises as :meth:`arm`."""
        self._record.will_make(Kind.INSTANCE, key=token)

    def sending(self, token: str) -> None:
        """The launch is sent now. Raises as :meth:`arm`."""
        self._record.sending(token)
        self._launched_any = True
        self._unanswered.add(token)

    def answered(self, attempt: Attempt, token: str) -> None:
        """The launch has been answered; one whose answer was lost stays open."""
        if not attempt.answered:
            return
        self._unanswered.discard(token)
        if attempt.code is not None:
            self._record.gone(Kind.INSTANCE, token)

    def launched(self, instance: Instance) -> None:
        """This instance exists."""
        self._launched_any = True
        self._known[instance.id] = instance
        if instance.token:
            self._tokens[instance.id] = instance.token
            self._record.known(Kind.INSTANCE, instance.id, instance.token)

    def resume(self, entries: Iterable[Entry]) -> None:
        """Take up what another process left, from its lines in the journal. Raises as :meth:`arm`."""
        self.arm()
        for entry in entries:
            if entry.kind != Kind.INSTANCE:
                self._made.add(Kind(entry.kind))
                if entry.kind == Kind.IMAGE and entry.state is State.SENT:
                    self._image_asked = entry.changed
            elif entry.state is State.INTENT:
                self._record.gone(Kind.INSTANCE, entry.key)  # it was never sent
            else:
                self._launched_any = True
                if entry.resource:
                    self._known[entry.resource] = None
                    self._tokens[entry.resource] = entry.key
                else:
                    self._unanswered.add(entry.key)

    def end(self) -> None:
        """End everything of this run. Safe to call again; does nothing where nothing was made.

        Raises:
            StillRunningError: an end could not be confirmed; it names the ids and the command.
        """
        if not self._armed:
            return
        if self._launched_any:
            # Once, and on: neither a key that can't be deleted nor an account that can't be searched may use up the
            # time in which what is known is ended.
            self._once(self._delete_key)
            give_up = self._clock.monotonic() + self._patience.end
            self._end_known(self._once, [id_ for id_, instance in self._known.items() if instance is not None])
            self._look_for_lost_launches(give_up)
            self._end_known(partial(self._insist, give_up), list(self._known))
            still_open = self._not_ended()
            # Every launch is known or unanswered: with neither left, an account that was not searched hides nothing.
            if still_open or self._unanswered:
                # The second fence, where it is free: a launch that lands late needs its group, too.
                self._once(partial(self._custody.delete_groups, self.run_id))
                raise self._unconfirmed(still_open)
        # What can't be deleted now costs nothing: a later command takes it away.
        steps: dict[Kind, Callable[[], bool]] = {
            Kind.SCHEDULE: self._delete_schedule,
            Kind.KEY_PAIR: self._delete_key,
            Kind.SECURITY_GROUP: partial(self._custody.delete_groups, self.run_id),
            Kind.IMAGE: self._delete_images,
        }
        made = [kind for kind in steps if kind in self._made]
        self.left = tuple(str(kind) for kind in made if not self._tidy(kind, steps[kind]))
        if not self.left:
            self._armed = False
            self._record.close()

    def abandon(self) -> None:
        """Let go of the run without ending it: what the journal has open is the next process's to end."""
        self._record.close()

    def _end_known(self, attempt: Callable[[Callable[[], bool]], bool], ids: Iterable[str]) -> None:
        for id_ in ids:
            if id_ not in self._ended and attempt(partial(self._terminate, id_)):
                self.terminated.append(id_)
                self._note_ended(id_)

    def _not_ended(self) -> list[str]:
        return [id_ for id_ in self._known if id_ not in self._ended]

    def _tidy(self, kind: Kind, step: Callable[[], bool]) -> bool:
        if not self._insist(self._clock.monotonic() + self._patience.tidying, step):
            return False
        self._record.gone(kind)
        self._made.discard(kind)
        self.tidied.append(kind)
        return True

    def _terminate(self, id_: str) -> bool:
        """Free the run's group and ask for the end; an instance that has begun to end may no longer be moved."""
        instance = self._known[id_]
        if instance is None and self._custody.disowned(id_):
            self._last_failure = "its gputx tag was taken off, so it is left alone"
            return False
        # Where calls get lost the end itself comes first: the group is free once the instance has terminated.
        if instance is not None and not self._troubled:
            self._once(partial(self._custody.release_group, instance))
        self._record.terminating(Kind.INSTANCE, self._tokens.get(id_, id_))
        try:
            return self._custody.terminate(id_) or self._is_over(id_)
        except GputxError:
            # It may not be ended by us, or not now; but it may have ended by itself.
            if self._is_over(id_):
                return True
            raise

    def _is_over(self, id_: str) -> bool:
        """Whether the account shows it ending; one it does not show at all proves nothing before its deadline."""
        shown = [instance for instance in self._custody.instances(self.run_id) if instance.id == id_]
        return not any(instance.live for instance in shown) and (bool(shown) or self._overdue)

    def _note_ended(self, id_: str) -> None:
        self._ended.append(id_)
        self._record.gone(Kind.INSTANCE, self._tokens.get(id_, id_))

    def _delete_key(self) -> bool:
        self._custody.delete_key(self.run_id)
        return True

    def _delete_schedule(self) -> bool:
        self._custody.delete_schedule(self.run_id)
        return True

    def _delete_images(self) -> bool:
        """One that was asked for and is not to be seen may only be invisible still: it stays open for a while."""
        if seen := self._custody.delete_images(self.run_id):
            self._image_asked = None
            self._last_failure = f"{seen} of its image and snapshots were still to be seen"
            return False
        self._last_failure = "an image was asked for, and is not to be seen yet"
        return self._image_asked is None or self._clock.time() > self._image_asked + IMAGE_SEEN_SECONDS

    def _look_for_lost_launches(self, give_up: float) -> None:
        """Learn what the account shows under our tag, waiting a little where a launch got no answer."""
        until = self._clock.monotonic() + self._patience.lost
        while True:
            if not self._insist(give_up, self._remember_visible):
                return
            if not self._unanswered or self._clock.monotonic() >= min(until, give_up):
                break
            self._clock.sleep(1.0)
        if self._overdue:
            # Past the deadline on the instance itself, and not to be seen: it never came to be, or has ended.
            for token in self._unanswered:
                self._record.gone(Kind.INSTANCE, token)
            self._unanswered.clear()

    @property
    def _overdue(self) -> bool:
        return self._clock.time() > self._record.deadline + MARGIN_SECONDS

    def _remember_visible(self) -> bool:
        for instance in self._custody.instances(self.run_id):
            if self._known.get(instance.id) is None:
                self.launched(instance)
            if not instance.live and instance.id not in self._ended:
                self._note_ended(instance.id)
            self._unanswered.discard(instance.token or "")
        return True

    def _insist(self, give_up: float, step: Callable[[], bool]) -> bool:
        """Repeat ``step`` with growing pauses until it is true; False when the clock's monotonic passes ``give_up``."""
        pause = _FIRST_PAUSE
        say_at = self._clock.monotonic() + _SAY_EVERY_SECONDS
        while not self._once(step):
            now = self._clock.monotonic()
            until = give_up + (self._patience.credentials if self._expired else 0.0)
            if now + pause > until:
                return False
            if now >= say_at:
                self._say(f"still at it, for {until - now:.0f} s more: {self._last_failure}")
                say_at = now + _SAY_EVERY_SECONDS
            self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return True

    def _once(self, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except GputxError as error:
            self._troubled = True
            self._last_failure = error.message
            if error.renewable:
                self._renew(error)
        except Exception as error:  # noqa: BLE001 - a bug in reading an answer must not leave an instance running
            self._troubled = True
            self._last_failure = f"{type(error).__name__}: {error}"
        return False

    def _renew(self, error: GputxError) -> None:
        if not self._expired and self._patience.credentials:
            self._say(
                f"new credentials are needed to end what runs: {error.hint or 'renew them'}; gputx waits for them"
            )
        self._expired = True
        self._custody.renew()

    def _unconfirmed(self, ids: Sequence[str]) -> StillRunningError:
        what = ", ".join(ids) or f"a launch of run {self.run_id} that got no answer"
        commands = "; ".join(self._custody.ending_command(id_) for id_ in ids)
        due = datetime.fromtimestamp(self._record.deadline, UTC).astimezone()
        return StillRunningError(
            f"could not confirm that {what} has ended ({self._last_failure})",
            details=(
                f"it powers itself off when it has not heard from gputx for a while, at {due:%H:%M} at the latest",
                "the next gputx command looks again; so does `gputx reap`",
            ),
            hint=commands or f"gputx reap --run {self.run_id}",
        )
