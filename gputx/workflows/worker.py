"""The client's half of worker protocol 1 (docs/contracts.md): commands out, events in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from gputx.errors import GputxError
from gputx_remote.transcript import Measure, Segment, Word

PROTOCOL = 1


@dataclass(frozen=True)
class Asked:
    """How a recording is to be transcribed; the fields are those of the command ``transcribe``."""

    language: str | None
    """A code; None has it detected."""
    task: str
    word_timestamps: bool = False
    initial_prompt: str | None = None
    hotwords: str | None = None
    condition_on_previous_text: bool = False
    temperatures: tuple[float, ...] | None = None
    """None, here and below: the worker's own."""
    thresholds: dict[str, float] | None = None
    speech: dict[str, float | str] | None = None


class LineStream(Protocol):
    """A running worker's stdin and stdout, wherever it runs."""

    def write_line(self, line: str) -> None:
        """Send one line. Raises GputxError where the other side is gone."""

    def lines(self) -> Iterator[str]:
        """Lines as they come, until the worker's stdout ends. Raises InstanceLostError, InterruptedBySignal."""

    def close(self) -> None:
        """End the stream; a worker that still runs gets end of input."""

    def epitaph(self) -> str:
        """How it ended, for people: exit status and the last words of stderr."""


class WorkerEndedError(GputxError):
    """The worker's process ended with work outstanding; the place it ran on is still there."""


class Worker:
    """One conversation with one worker."""

    def __init__(self, stream: LineStream) -> None:
        self._stream = stream

    def transcribe(self, job: str, path: str, asked: Asked) -> None:
        self._send({"op": "transcribe", "id": job, "path": path, "options": asdict(asked)})

    def quit(self) -> None:
        self._send({"op": "quit"})

    def events(self) -> Iterator[dict[str, Any]]:
        """Events in order, the protocol's version checked first.

        Raises:
            GputxError: something that is not the protocol was said, or another version of it.
        """
        for line in self._stream.lines():
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, KeyError, TypeError):
                raise GputxError(f"the worker said something unexpected: {line[:200]!r}") from None
            if kind == "hello" and event.get("protocol") != PROTOCOL:
                raise GputxError(f"the worker speaks protocol {event.get('protocol')}, this gputx {PROTOCOL}")
            yield event

    def _send(self, command: dict[str, Any]) -> None:
        self._stream.write_line(json.dumps(command, ensure_ascii=False))


def segment_of(event: dict[str, Any]) -> Segment:
    """A ``segment`` event as a segment.

    Raises:
        KeyError: a field is missing.
        TypeError: one is something else.
    """
    words = tuple(Word(*word) for word in event.get("words", ()))
    measure = event.get("measure")
    return Segment(
        event["start_ms"],
        event["end_ms"],
        event["text"],
        words,
        tuple(event.get("tokens", ())),
        event.get("confidence"),
        event.get("suspect", False),
        Measure(*measure) if measure else None,
    )
