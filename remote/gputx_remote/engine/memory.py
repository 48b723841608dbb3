"""Going on where memory is short: fewer windows at once, at last on the CPU. Each step is said."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from gputx_remote.decoders.decoder import Decoder, OutOfMemoryError
from gputx_remote.errors import EngineError

GOOD_TURNS = 50
"""Full turns without trouble, after which a room that may grow again doubles. After each halving twice as many as
before are wanted, up to :data:`MOST_TURNS`, so that one whose memory is small for good seldom pays for trying."""
MOST_TURNS = 3200

T = TypeVar("T")
R = TypeVar("R")


class Place(Protocol):
    """A decoder, and how many windows it is to be handed at once: a :class:`Room`, or a share of one."""

    @property
    def decoder(self) -> Decoder:
        """It may become another one, when memory is short."""
        ...

    @property
    def size(self) -> int:
        """Windows at once; it may change."""
        ...

    def work(self, windows: Sequence[T], attempt: Callable[[Decoder, Sequence[T]], list[R]]) -> list[R]:
        """Do ``attempt`` over all windows, in pieces of a size that fits.

        Raises:
            EngineError: not even one window fits on the CPU.
        """
        ...

    def regrow(self) -> None:
        """From here on let the size double again, towards its first value, where memory was short only for a while. A
        run does not: it is over soon, and below float32 a window's text may depend on how many are beside it."""
        ...


class Room:
    """How many windows fit at once, found out by trying."""

    def __init__(
        self, decoder: Decoder, limit: int | None, retreat: Callable[[], Decoder], note: Callable[[str], None]
    ):
        """
        Args:
            decoder: the model.
            limit: windows at once, as the person asked; None to go by free memory.
            retreat: loads the same model for the CPU.
            note: told in one line of each step.
        """
        self.decoder = decoder
        self._limit = limit
        self._retreat = retreat
        self._note = note
        self.size = self._first = self._by_memory()
        self._wanted: int | None = None
        """Full turns before it grows; None where it never does."""
        self._good = 0

    def regrow(self) -> None:
        """See :meth:`Place.regrow`."""
        self._wanted = GOOD_TURNS

    def work(self, windows: Sequence[T], attempt: Callable[[Decoder, Sequence[T]], list[R]]) -> list[R]:
        """See :meth:`Place.work`."""
        done: list[R] = []
        while len(done) < len(windows):
            piece = windows[len(done) : len(done) + self.size]
            outcome = self._try(piece, attempt)
            if outcome is None:
                self._make_room(len(piece))
            else:
                done += outcome
                self._went_well(len(piece))
        return done

    def _went_well(self, count: int) -> None:
        # A turn that was not full says nothing of larger ones.
        if self._wanted is None or self.size >= self._first or count < self.size:
            return
        self._good += 1
        if self._good >= self._wanted:
            self._good = 0
            self.size = min(self._first, 2 * self.size)
            self._note(f"{self._wanted} turns without trouble: going on with {self.size} windows at once")

    def _try(self, piece: Sequence[T], attempt: Callable[[Decoder, Sequence[T]], list[R]]) -> list[R] | None:
        # It returns rather than raises, because an exception's traceback would keep the failed tensors alive.
        try:
            return attempt(self.decoder, piece)
        except OutOfMemoryError:
            return None

    def _make_room(self, failed: int) -> None:
        gc.collect()
        self._good = 0
        if self._wanted is not None:
            self._wanted = min(MOST_TURNS, 2 * self._wanted)
        if failed > 1:
            self.size = failed // 2
            self._note(f"memory too small for {failed} windows at once: going on with {self.size}")
        elif self.decoder.device != "cpu":
            self._note("GPU memory too small for one window: going on with the CPU")
            self.decoder = self._retreat()
            self.size = self._first = self._by_memory()
        else:
            raise EngineError("not enough memory for one window of 30 s")

    def _by_memory(self) -> int:
        free = self.decoder.batch_size()
        return free if self._limit is None else min(self._limit, max(free, 1))
