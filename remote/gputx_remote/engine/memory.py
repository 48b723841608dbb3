"""Going on where memory is short: fewer windows at once, at last on the CPU. Each step is said."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

from gputx_remote.decoders.decoder import Decoder, OutOfMemoryError
from gputx_remote.errors import EngineError

T = TypeVar("T")
R = TypeVar("R")


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
        self.size = self._by_memory()

    def work(self, windows: Sequence[T], attempt: Callable[[Decoder, Sequence[T]], list[R]]) -> list[R]:
        """Do ``attempt`` over all windows, in pieces of a size that fits.

        Raises:
            EngineError: not even one window fits on the CPU.
        """
        done: list[R] = []
        while len(done) < len(windows):
            piece = windows[len(done) : len(done) + self.size]
            outcome = self._try(piece, attempt)
            if outcome is None:
                self._make_room(len(piece))
            else:
                done += outcome
        return done

    def _try(self, piece: Sequence[T], attempt: Callable[[Decoder, Sequence[T]], list[R]]) -> list[R] | None:
        # It returns rather than raises, because an exception's traceback would keep the failed tensors alive.
        try:
            return attempt(self.decoder, piece)
        except OutOfMemoryError:
            return None

    def _make_room(self, failed: int) -> None:
        gc.collect()
        if failed > 1:
            self.size = failed // 2
            self._note(f"memory too small for {failed} windows at once: going on with {self.size}")
        elif self.decoder.device != "cpu":
            self._note("GPU memory too small for one window: going on with the CPU")
            self.decoder = self._retreat()
            self.size = self._by_memory()
        else:
            raise EngineError("not enough memory for one window of 30 s")

    def _by_memory(self) -> int:
        free = self.decoder.batch_size()
        return free if self._limit is None else min(self._limit, max(free, 1))
