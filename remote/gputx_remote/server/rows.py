"""Windows of different jobs, done in one call of the model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gputx_remote.decoders.decoder import Decoder

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Samples


@dataclass(eq=False)
class Row:
    """One window of one job."""

    samples: Samples
    encoded: tuple[Decoder, Any, int] | None = None
    """Who encoded it, the encoding it is in, and its place there. None: nobody has yet."""


@dataclass(frozen=True)
class Align:
    """When the tokens of a text behind this prompt were spoken."""

    prompt: tuple[int, ...]


DECODE, LANGUAGES = "decode", "languages"

SPREADS = "side by side"
"""The name of the decoder that gives each core windows of its own. On a CPU all others are given one window at a time
to encode: eight at once took a third more time, since a layer's activations no longer stay in its cache."""


class Call:
    """What one seat asked for at once and waits for."""

    def __init__(self, size: int) -> None:
        self.answers: list[Any] = [None] * size
        self.error: Exception | None = None
        self.left = size


@dataclass(frozen=True)
class Task:
    """One row, and what is to be found out about it. Tasks of one kind can be done in one call of the model."""

    row: Row
    kind: Hashable
    """:data:`DECODE`, :data:`LANGUAGES` or an :class:`Align`."""
    argument: Any = None
    """The request; or the text and the samples that are audio."""
    call: Call = field(default_factory=lambda: Call(1))
    place: int = 0
    """Of its answer in the call."""


def answers(decoder: Decoder, tasks: Sequence[Task]) -> list[Any]:
    """What the model makes of tasks of one kind.

    Raises:
        OutOfMemoryError: too many at once.
    """
    encoded = _encoding(decoder, [task.row for task in tasks])
    arguments = [task.argument for task in tasks]
    match tasks[0].kind:
        case Align(prompt):
            texts, lengths = [text for text, _ in arguments], [length for _, length in arguments]
            return list(decoder.align(encoded, prompt, texts, lengths))
        case "languages":
            return list(decoder.languages(encoded))
        case _:
            return list(decoder.decode(encoded, arguments))


def _encoding(decoder: Decoder, rows: Sequence[Row]) -> Any:
    """All rows as one encoding; what this decoder has not encoded yet is encoded, together."""
    # After a retreat to the CPU what the GPU has encoded is of no use.
    fresh = [row for row in rows if row.encoded is None or row.encoded[0] is not decoder]
    step = max(1, len(fresh) if decoder.device != "cpu" or decoder.name == SPREADS else 1)
    for start in range(0, len(fresh), step):
        together = decoder.encode([row.samples for row in fresh[start : start + step]])
        for place, row in enumerate(fresh[start : start + step]):
            row.encoded = (decoder, together, place)
    parts = [_part(decoder, encoding, places) for encoding, places in _runs(rows)]
    return parts[0] if len(parts) == 1 else decoder.join(parts)


def _runs(rows: Sequence[Row]) -> list[tuple[Any, list[int]]]:
    """Rows that follow each other and lie in one encoding: (it, their places)."""
    runs: list[tuple[Any, list[int]]] = []
    for row in rows:
        if row.encoded is not None:
            _, encoding, place = row.encoded
            if runs and runs[-1][0] is encoding:
                runs[-1][1].append(place)
            else:
                runs.append((encoding, [place]))
    return runs


def _part(decoder: Decoder, encoding: Any, places: list[int]) -> Any:
    return encoding if places == list(range(len(encoding))) else decoder.select(encoding, places)
