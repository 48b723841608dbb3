"""One model for many jobs: what their transcribers ask of a decoder at the same time is done together.

Each job runs the ordinary transcriber in a thread of its own, over a :class:`Seat` in place of the decoder. The seats
hand their windows to one model thread, which takes as many of them at once as memory has room for: one from each job in
turn, so that a short job waits for one turn of the model and not for a long job's end. What a window is taken for does
not depend on the others in its turn (:meth:`Decoder.decode`), so nothing else changes for a job.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gputx_remote.server.rows import DECODE, Call, Task, answers
from gputx_remote.server.seat import Seat

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Decoder
    from gputx_remote.engine.memory import Place

LONGEST_TURN = 3.0
"""Seconds of work to put into a turn at most, as far as the last ones tell: whoever comes meanwhile waits for it."""
FEWEST = 4
"""Windows a turn takes however slow the model is: below that a CPU loses what a batch gains (benchmarks/server.py)."""
COMPANY = 0.1
"""Share of the last turn that the next one may wait for jobs which had windows in it: they are about to ask again."""
LONGEST_WAIT = 0.1
"""Seconds it may wait at most."""


CLOSE_SECONDS = 1.0
"""For which the end waits for the turn that is under way."""


class CancelledError(Exception):
    """The job was given up; nobody waits for what it asked."""


class _BrokenError(Exception):
    """Even what the model could do once it can't any more."""


@dataclass
class Statistics:
    """What the model has done. Read without a lock: each figure is right, together they may be one turn apart."""

    turns: int = 0
    windows: int = 0
    """Windows decoded, again at another temperature or in halves included."""
    seconds: float = 0.0
    """Wall time the model worked."""
    sizes: deque[int] = field(default_factory=lambda: deque(maxlen=256))
    """Windows in each of the last turns."""


class SharedDecoder:
    """The model and its thread. ``close`` ends it."""

    def __init__(
        self, room: Place, clock: Callable[[], float] = time.monotonic, known: Callable[[Place], object] | None = None
    ) -> None:
        """
        Args:
            room: the decoder, and how many windows it takes; from here on only the model thread uses it.
            clock: seconds, for the length of turns.
            known: has the model do what it could do once; where even that raises, it is broken. None: nobody knows.
        """
        self._room = room
        self._clock = clock
        self._known = known
        self._tell: Callable[[], None] | None = None
        self.broken = False
        """The model fails at everything, and will until the process starts anew. Whoever asks gets CancelledError."""
        self._changed = threading.Condition()
        self._seats: list[Seat] = []
        self._floor = 0.0
        """How much those in the last turn had been served, at least: whoever comes new or back starts from there."""
        self._window_seconds = 0.0
        self._last_turn = 0.0
        self._expected: set[Seat] = set()
        self._owed = False
        """Somebody who is not urgent waited in the last turn and got nothing."""
        self._closed = False
        self.statistics = Statistics()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def decoder(self) -> Decoder:
        """The model itself: only for what never changes, such as its vocabulary."""
        return self._room.decoder

    @property
    def at_work(self) -> bool:
        """Whether the model thread has not ended."""
        return self._thread.is_alive()

    def when_broken(self, tell: Callable[[], None]) -> None:
        """Have it told, once, when the model is broken; at once where it is already."""
        with self._changed:
            self._tell = tell
            broken = self.broken
        if broken:
            tell()

    @property
    def turn(self) -> int:
        """Windows a turn may take now."""
        size = self._room.size
        if self._window_seconds > 0:
            size = min(size, max(FEWEST, int(LONGEST_TURN / self._window_seconds)))
        return max(1, size)

    @property
    def share(self) -> int:
        """Windows a seat should hand over at once, as things are: a turn's worth between all, but never one by one."""
        return max(min(2, self.turn), -(-self.turn // max(1, len(self._seats))))

    def seat(self, *, urgent: bool = False, cancelled: Callable[[], bool] = lambda: False) -> Seat:
        """A place at the model for one job. Close it when the job ends.

        Args:
            urgent: served before all that are not, but for one window in each turn: for somebody who is speaking.
            cancelled: asked at each turn; once it is true, whatever the seat asks for raises :class:`CancelledError`.
        """
        seat = Seat(self, urgent=urgent, cancelled=cancelled)
        with self._changed:
            seat.served = self._floor
            self._seats.append(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """End a seat."""
        with self._changed:
            if seat in self._seats:
                self._seats.remove(seat)
            self._expected.discard(seat)
            self._changed.notify_all()

    def ask(self, seat: Seat, call: Call, tasks: Sequence[Task]) -> list[Any]:
        """Have a call's tasks done; blocks until all of them are.

        Raises:
            CancelledError: the seat's job was given up, the server ends, or the model is broken.
            EngineError: the model can't do it.
        """
        with self._changed:
            if not seat.waiting:
                seat.served = max(seat.served, self._floor)
            seat.waiting.extend(tasks)
            self._expected.discard(seat)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not call.left or call.error or self._closed or seat.cancelled())
            if call.left or call.error:
                seat.waiting = deque(task for task in seat.waiting if task.call is not call)
                raise call.error or CancelledError
        return call.answers

    def wake(self) -> None:
        """Have everybody look again at what they wait for: a job was cancelled."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the model thread after its turn; whoever waits gets :class:`CancelledError`. A turn that takes longer
        than :data:`CLOSE_SECONDS` is not waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while (tasks := self._next()) is not None:
            started = self._clock()
            try:
                outcomes = self._together(tasks)
            except _BrokenError:
                self._break()
                return
            took = self._clock() - started
            with self._changed:
                self._last_turn = took
                self._note(tasks, took)
                for task, (answer, error) in zip(tasks, outcomes, strict=True):
                    task.call.answers[task.place] = answer
                    task.call.left -= 1
                    task.call.error = task.call.error or error
                self._changed.notify_all()

    def _break(self) -> None:
        with self._changed:
            self._closed = self.broken = True
            tell = self._tell
            self._changed.notify_all()
        if tell is not None:
            tell()

    def _note(self, tasks: Sequence[Task], took: float) -> None:
        if tasks[0].kind != DECODE:
            return
        each = took / len(tasks)
        # Half of it the last turn: a model on a CPU slows down and speeds up with what else runs there.
        self._window_seconds = each if not self._window_seconds else (self._window_seconds + each) / 2
        self.statistics.turns += 1
        self.statistics.windows += len(tasks)
        self.statistics.seconds += took
        self.statistics.sizes.append(len(tasks))

    def _next(self) -> list[Task] | None:
        """Wait for work; what to do in this turn. None: there will be none any more."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or self._hungry())
                if self._closed:
                    return None
                pause = min(LONGEST_WAIT, COMPANY * self._last_turn)
                self._changed.wait_for(lambda: self._closed or not self._expected, timeout=pause)
                if tasks := self._chosen():
                    return tasks

    def _hungry(self) -> list[Seat]:
        return [seat for seat in self._seats if seat.waiting]

    def _chosen(self) -> list[Task]:
        """Tasks of one kind, one from each seat in turn, least served first. The first one's kind decides.

        Those who are urgent come first, but the last place is for others where any wait; and where they got none, since
        they asked for something else or the turn is of one window, the first place of the next turn.
        """
        size, tasks, served = self.turn, list[Task](), set[Seat]()
        hungry = self._hungry()
        patient = any(not seat.urgent for seat in hungry)
        while len(tasks) < size and hungry:
            last = size > 1 and len(tasks) == size - 1 and all(seat.urgent for seat in served)
            others = last or (self._owed and not tasks)
            seat = min(hungry, key=lambda one: (one.urgent is others, one.served))
            task = seat.next(tasks[0].kind if tasks else None)
            if task is None:
                hungry.remove(seat)
                continue
            seat.served += 1
            served.add(seat)
            tasks.append(task)
        self._owed = patient and all(seat.urgent for seat in served)
        self._floor = max(self._floor, min((seat.served for seat in served if not seat.urgent), default=0.0))
        # Those who got all they asked for are about to come back with more, or to leave.
        self._expected = {seat for seat in served if not seat.waiting}
        return tasks

    def _together(self, tasks: Sequence[Task]) -> list[tuple[Any, Exception | None]]:
        """Each task's answer, or what went wrong with it: one that the model can't do sinks no other."""
        try:
            return [(answer, None) for answer in self._room.work(tasks, answers)]
        except Exception as error:  # noqa: BLE001 - given to whoever asked, in whose thread it is raised
            if len(tasks) == 1:
                self._try_known()
                return [(None, error)]
        return [outcome for task in tasks for outcome in self._together([task])]

    def _try_known(self) -> None:
        """Whether it was the window, which is its own job's misfortune, or the model: a GPU whose context is lost fails
        at every call in no time, and would burn all that is queued."""
        if self._known is None:
            return
        try:
            self._known(self._room)
        except Exception as error:
            raise _BrokenError from error
