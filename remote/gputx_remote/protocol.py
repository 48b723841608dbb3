"""Worker protocol 1 (docs/contracts.md): JSON Lines, commands in, events out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gputx_remote import PROTOCOL, __version__
from gputx_remote.engine.transcriber import Thresholds, TranscribeOptions
from gputx_remote.errors import ProtocolError

FATAL = 3
"""The exit status of a worker that said ``fatal``."""

TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Transcribe:
    """The command ``transcribe``: one file, by a path on the worker's machine."""

    id: str
    path: Path
    options: TranscribeOptions


class Quit:
    """The command ``quit``: end once what was asked is done."""


Command = Transcribe | Quit


class Emit(Protocol):
    """Sends one event. Raises OSError when nobody listens any more."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...


def hello(emit: Emit) -> None:
    """Say who is there; always the first event."""
    emit("hello", protocol=PROTOCOL, version=__version__, pid=os.getpid())


def encode(event: str, fields: dict[str, Any]) -> bytes:
    """One event as a line."""
    return json.dumps({"event": event, **fields}, ensure_ascii=False).encode() + b"\n"


def commands(lines: Iterable[bytes]) -> Iterator[Command]:
    """Read commands until the lines end or after a ``quit``.

    Raises:
        ProtocolError: a line is no command.
    """
    for line in lines:
        if not line.strip():
            continue
        command = _parse(line)
        yield command
        if isinstance(command, Quit):
            return


def _parse(line: bytes) -> Command:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"a command is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ProtocolError("a command is not a JSON object")
    match fields.get("op"):
        case "quit":
            return Quit()
        case "transcribe":
            return _transcribe(fields)
        case op:
            raise ProtocolError(f"unknown op {op!r}")


def _transcribe(fields: dict[str, Any]) -> Transcribe:
    name, path, options = fields.get("id"), fields.get("path"), fields.get("options") or {}
    if not isinstance(name, str) or not isinstance(path, str) or not isinstance(options, dict):
        raise ProtocolError("transcribe needs id and path as strings, and options as an object")
    return Transcribe(name, Path(path), _options(options))


_KINDS: dict[str, tuple[type, ...]] = {
    "language": (str,),
    "task": (str,),
    "word_timestamps": (bool,),
    "initial_prompt": (str,),
    "hotwords": (str,),
    "condition_on_previous_text": (bool,),
    "temperatures": (list,),
    "thresholds": (dict,),
    "speech": (dict,),
}


def _options(fields: dict[str, Any]) -> TranscribeOptions:
    """What a client asked for; a null or a missing field means the default.

    Raises:
        ProtocolError: one is unknown or has a value that can't be.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        if name not in _KINDS:
            raise ProtocolError(f"unknown option {name!r}")
        if not isinstance(value, _KINDS[name]):
            raise ProtocolError(f"options.{name} can't be {value!r:.60}")
    if (task := given.get("task", "transcribe")) not in TASKS:
        raise ProtocolError(f"options.task is {task!r}; there are {' and '.join(TASKS)}")
    # Null asks for the language to be detected.
    given.setdefault("language", None)
    try:
        if "temperatures" in given:
            given["temperatures"] = tuple(float(value) for value in given["temperatures"])
        if "thresholds" in given:
            given["thresholds"] = Thresholds(**given["thresholds"])
        if "speech" in given:
            from gputx_remote.speech.plan import SpeechOptions  # noqa: PLC0415 - few ask for it

            given["speech"] = SpeechOptions(**given["speech"])
        return TranscribeOptions(**given)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"the options can't be: {error}") from error
