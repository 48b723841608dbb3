"""A job's place at the shared model: a decoder to its transcriber, and the room that goes with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gputx_remote.server.rows import DECODE, LANGUAGES, Align, Call, Row, Task

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Decoded, Decoder, Request, Samples
    from gputx_remote.vocabulary import Vocabulary

T = TypeVar("T")
R = TypeVar("R")


class SharedModel(Protocol):
    """What a seat asks of the model that it is at: :class:`gputx_remote.server.shared.SharedDecoder`."""

    @property
    def decoder(self) -> Decoder:
        """The model itself, for what never changes."""

    @property
    def share(self) -> int:
        """Windows to hand over at once."""

    def ask(self, seat: Seat, call: Call, tasks: Sequence[Task]) -> list[Any]:
        """Have a call's tasks done."""

    def leave(self, seat: Seat) -> None:
        """End a seat."""


class Seat:
    """See :class:`gputx_remote.decoders.decoder.Decoder`; :meth:`SharedDecoder.seat` makes one.

    An encoding here is a list of rows that nobody has encoded yet: the model does it in the turn in which they are
    decoded, with those of other jobs. What does not fit into memory is the shared decoder's to see to, so nothing here
    raises OutOfMemoryError.
    """

    name = "shared"

    def __init__(self, model: SharedModel, *, urgent: bool, cancelled: Callable[[], bool]) -> None:
        self._model = model
        self.urgent = urgent
        self.cancelled = cancelled
        self.served = 0.0
        """Windows of it that the model has done, on the shared decoder's count."""
        self.waiting: deque[Task] = deque()

    @property
    def vocabulary(self) -> Vocabulary:
        return self._model.decoder.vocabulary

    @property
    def device(self) -> str:
        return self._model.decoder.device

    @property
    def compute_type(self) -> str:
        return self._model.decoder.compute_type

    def encode(self, windows: Sequence[Samples]) -> list[Row]:
        """See :meth:`Decoder.encode`."""
        return [Row(samples) for samples in windows]

    def select(self, encoded: list[Row], rows: Sequence[int]) -> list[Row]:
        """See :meth:`Decoder.select`."""
        return [encoded[row] for row in rows]

    def join(self, encodings: Sequence[list[Row]]) -> list[Row]:
        """See :meth:`Decoder.join`."""
        return [row for encoded in encodings for row in encoded]

    def decode(self, encoded: list[Row], requests: Sequence[Request]) -> list[Decoded]:
        """See :meth:`Decoder.decode`."""
        return self._ask(DECODE, encoded, requests)

    def languages(self, encoded: list[Row]) -> list[dict[str, float]]:
        """See :meth:`Decoder.languages`."""
        return self._ask(LANGUAGES, encoded, [None] * len(encoded))

    def align(
        self, encoded: list[Row], prompt: Sequence[int], texts: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> list[Sequence[float]]:
        """See :meth:`Decoder.align`."""
        return self._ask(Align(tuple(prompt)), encoded, list(zip(texts, lengths, strict=True)))

    def batch_size(self) -> int:
        """See :meth:`Decoder.batch_size`."""
        return self._model.share

    def next(self, kind: Hashable) -> Task | None:
        """Take the first task that waits, or the first of one kind; the shared decoder holds its lock."""
        for place, task in enumerate(self.waiting):
            if kind is None or task.kind == kind:
                del self.waiting[place]
                return task
        return None

    def close(self) -> None:
        """Give the place up."""
        self._model.leave(self)

    def _ask(self, kind: Hashable, rows: Sequence[Row], arguments: Sequence[Any]) -> list[Any]:
        call = Call(len(rows))
        tasks = [
            Task(row, kind, argument, call, place)
            for place, (row, argument) in enumerate(zip(rows, arguments, strict=True))
        ]
        return self._model.ask(self, call, tasks)


class SeatRoom:
    """Room for one job: as many windows at once as its share of the model's turns is, which changes with the others."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    @property
    def decoder(self) -> Decoder:
        """The seat."""
        return self._seat

    @property
    def size(self) -> int:
        """Windows to hand over at once."""
        return self._seat.batch_size()

    def work(self, windows: Sequence[T], attempt: Callable[[Decoder, Sequence[T]], list[R]]) -> list[R]:
        """See :meth:`Room.work`. Memory is the shared decoder's to see to."""
        return attempt(self._seat, windows)

    def regrow(self) -> None:
        """See :meth:`Place.regrow`: likewise."""
