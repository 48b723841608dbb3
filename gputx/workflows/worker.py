"""The client's half of worker protocol 1 (docs/contracts.md): commands out, events in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

from gputx.errors import GputxError

PROTOCOL = 1


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

    def transcribe(self, job: str, path: str, *, language: str, task: str) -> None:
        options = {"language": language, "task": task}
        self._send({"op": "transcribe", "id": job, "path": path, "options": options})

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
