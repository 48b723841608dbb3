"""Server-sent events, read as the HTML standard has them, from the lines of a response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerEvent:
    """One event: its name ("message" where it has none), its JSON, and its id where it has one."""

    kind: str
    data: Any
    id: str | None


def events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Events as they come; comments and what is no JSON are left out.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    kind, id_ = "", None
    data: list[str] = []
    for line in lines:
        if not line:
            if data and (event := _event(kind, data, id_)):
                yield event
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                kind = value
            case "data":
                data.append(value)
            case "id":
                id_ = value


def _event(kind: str, data: list[str], id_: str | None) -> ServerEvent | None:
    try:
        return ServerEvent(kind or "message", json.loads("\n".join(data)), id_)
    except ValueError:
        return None
