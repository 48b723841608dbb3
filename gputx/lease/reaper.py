"""Ending what was judged, in the order that leaves nothing behind.

First every key pair (a launch that lands late then fails), then what runs, insisted on until it was seen ending, then
what only clutters: its deletion may have to wait for what runs, and a schedule ends what could not be ended here. A
rehearsal takes the same path with a broom that moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gputx.clock import Clock, Stop
from gputx.errors import ExitCode, GputxError, InterruptedBySignal
from gputx.lease.custody import Patience
from gputx.lease.verdict import RUNNING, Verdict
from gputx.models import Kind, Leftover

_TIDY = (
    Kind.SCHEDULE,
    Kind.KEY_PAIR,
    Kind.NETWORK_INTERFACE,
    Kind.VOLUME,
    Kind.SECURITY_GROUP,
    Kind.LAUNCH_TEMPLATE,
    Kind.QUEUE,
    Kind.IMAGE,
    Kind.SNAPSHOT,
)

PATIENCE = Patience(lost=5.0, tidying=30.0)
"""A group or a disk may have to wait for an instance that has only begun to end; a lost launch is fenced already."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_LEAST_ROUNDS = 10
"""Of the time there is, a pause takes no more than its tenth: what is freed late is still asked for several times."""
_SAY_EVERY_SECONDS = 15.0
_HOPELESS_TRIES = 3


class Broom(Protocol):
    """What the reaper needs of an account. Calls may raise GputxError and may be repeated."""

    def remove(self, leftover: Leftover) -> bool:
        """End or delete one thing; False where its end was not seen, or something still holds it."""

    def ending_command(self, leftover: Leftover) -> str:
        """What a person can paste to end it by hand. Asks nobody."""

    def renew(self) -> None:
        """Look for new credentials, where those in use have expired. Asks nobody, and may find none."""


class Rehearsal:
    """A broom that moves nothing, and finds that everything would have gone."""

    def __init__(self, broom: Broom) -> None:
        self._broom = broom
        self.asked: list[Leftover] = []
        """What would have been removed, in order."""

    def remove(self, leftover: Leftover) -> bool:
        self.asked.append(leftover)
        return True

    def ending_command(self, leftover: Leftover) -> str:
        return self._broom.ending_command(leftover)

    def renew(self) -> None:
        return None


@dataclass(frozen=True)
class Left:
    """Something that should have ended and was not seen to. ``tried`` is False where its end was not asked for."""

    leftover: Leftover
    why: str
    command: str
    tried: bool = True


@dataclass(frozen=True)
class Reaped:
    """What came of it. In a rehearsal ``ended`` is what would have been ended."""

    ended: tuple[Leftover, ...]
    left: tuple[Left, ...]


def reap(
    broom: Broom,
    verdicts: Iterable[Verdict],
    *,
    clock: Clock,
    dry_run: bool = False,
    progress: Callable[[Leftover], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    stop: Stop | None = None,
    patience: Patience = PATIENCE,
    deaf: bool = False,
    before_clutter: Callable[[Sequence[Leftover]], Collection[str]] = lambda _: (),
) -> Reaped:
    """End what the verdicts say, one thing to a call. Never raises: what could not be ended is in the answer.

    Args:
        progress: told of each thing once its end was seen.
        say: told from time to time what stands in the way.
        stop: once requested, nothing more is asked for; what was not reached is left.
        deaf: instances could not be looked for, so every schedule may still have one to end, and stays.
        before_clutter: told of what has ended, once what runs has had its turn; answers with the runs of which
            something may run all the same. Not asked in a rehearsal, or after a stop.
    """
    due = [verdict.leftover for verdict in verdicts if verdict.ends]
    stop = stop or Stop()
    work = _Work(
        Rehearsal(broom) if dry_run else broom,
        clock=clock,
        progress=progress,
        say=say,
        stop=stop,
        patience=patience,
    )
    keys = [thing for thing in due if thing.kind is Kind.KEY_PAIR]
    # Once, and on: a key that can't be deleted must not use up the time in which instances are ended.
    work.attempt(keys)
    running = [thing for kind in RUNNING for thing in due if thing.kind is kind]
    # Ended before the fleet that keeps it, an instance is replaced, and nobody here would know the new one.
    work.insist([thing for thing in running if thing.kind is not Kind.INSTANCE], patience.tidying)
    work.insist([thing for thing in running if not work.has_ended(thing)], patience.end)
    alive = {thing.run_id for thing in running if not work.has_ended(thing)}
    if not dry_run and not stop.requested:
        alive |= set(before_clutter(work.ended))
    clutter = [thing for kind in _TIDY for thing in due if thing.kind is kind and not work.has_ended(thing)]
    for thing in clutter:
        if thing.kind is Kind.SCHEDULE and deaf:
            work.keep(thing, "it will end its instance, which could not be looked for")
        elif thing.kind is Kind.SCHEDULE and thing.run_id in alive:
            work.keep(thing, "it will end what still runs")
    work.insist([thing for thing in clutter if not work.is_kept(thing)], patience.tidying)
    return Reaped(work.ended, tuple(work.left(thing) for thing in due if not work.has_ended(thing)))


class _Work:
    """The attempts of one reap, and what came of each thing."""

    def __init__(
        self,
        broom: Broom,
        *,
        clock: Clock,
        progress: Callable[[Leftover], None],
        say: Callable[[str], None],
        stop: Stop,
        patience: Patience,
    ) -> None:
        self._broom = broom
        self._clock = clock
        self._progress = progress
        self._say = say
        self._stop = stop
        self._patience = patience
        self._ended: dict[Leftover, None] = {}
        self._kept: set[Leftover] = set()
        self._why: dict[Leftover, str] = {}
        self._refusals: dict[Leftover, int] = {}
        self._expired = False

    @property
    def ended(self) -> tuple[Leftover, ...]:
        """In the order of their ends."""
        return tuple(self._ended)

    def has_ended(self, thing: Leftover) -> bool:
        return thing in self._ended

    def is_kept(self, thing: Leftover) -> bool:
        return thing in self._kept

    def keep(self, thing: Leftover, why: str) -> None:
        self._kept.add(thing)
        self._why[thing] = why

    def left(self, thing: Leftover) -> Left:
        why = self._why.get(thing)
        tried = why is not None and thing not in self._kept
        return Left(thing, why or "stopped before its turn", self._broom.ending_command(thing), tried=tried)

    def attempt(self, things: Iterable[Leftover]) -> list[Leftover]:
        """Ask once for the end of each. Returns those that are worth asking for again."""
        again = []
        for thing in things:
            if self._stop.requested:
                break
            if self._remove(thing):
                self._ended[thing] = None
                self._progress(thing)
            elif self._refusals.get(thing, 0) < _HOPELESS_TRIES:
                again.append(thing)
        return again

    def insist(self, things: Sequence[Leftover], seconds: float) -> None:
        """Ask until each has ended, with growing pauses, round after round: one that is stuck holds up no other."""
        pause, longest = _FIRST_PAUSE, min(_LONGEST_PAUSE, seconds / _LEAST_ROUNDS)
        give_up = self._clock.monotonic() + seconds
        say_at = self._clock.monotonic() + _SAY_EVERY_SECONDS
        pending = self.attempt(things)
        while pending and not self._stop.requested:
            now = self._clock.monotonic()
            until = give_up + (self._patience.credentials if self._expired else 0.0)
            if now + pause > until:
                return
            if now >= say_at:
                self._say(f"still at it, for {until - now:.0f} s more: {pending[0].id}: {self._why[pending[0]]}")
                say_at = now + _SAY_EVERY_SECONDS
            try:
                self._clock.sleep(pause, self._stop)
            except InterruptedBySignal:
                return
            pause = min(pause * 2, longest)
            pending = self.attempt(pending)

    def _remove(self, thing: Leftover) -> bool:
        try:
            if self._broom.remove(thing):
                return True
            self._why[thing] = "its end was not seen" if thing.kind in RUNNING else "something still holds it"
        except GputxError as error:
            self._why[thing] = error.message
            if error.renewable:
                self._renew(error)
            elif error.exit_code is ExitCode.CONFIGURATION:
                # It is not allowed, or can't be done at all: that hardly changes while one waits.
                self._refusals[thing] = self._refusals.get(thing, 0) + 1
        except Exception as error:  # noqa: BLE001 - a bug in reading one answer must not leave the rest running
            self._why[thing] = f"{type(error).__name__}: {error}"
        return False

    def _renew(self, error: GputxError) -> None:
        if not self._expired and self._patience.credentials:
            self._say(f"new credentials are needed to go on: {error.hint or 'renew them'}; gputx waits for them")
        self._expired = True
        try:
            self._broom.renew()
        except GputxError as none_yet:
            self._say(none_yet.message)
