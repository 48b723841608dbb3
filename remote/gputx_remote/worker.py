"""The worker: loads a model once, then turns each file it is asked for into events."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple, dataclass, field
from typing import IO, TYPE_CHECKING, Any

from gputx_remote import machine, protocol
from gputx_remote.engine.choice import Choice
from gputx_remote.errors import (
    AudioUnreadableError,
    EngineError,
    EngineUnavailableError,
    ModelUnavailableError,
    ProtocolError,
)
from gputx_remote.protocol import Emit, Transcribe

if TYPE_CHECKING:
    from pathlib import Path

    from gputx_remote.engine.transcriber import Transcriber, TranscriptionInfo
    from gputx_remote.transcript import Segment

FATAL_KINDS = {ModelUnavailableError: "model", EngineUnavailableError: "engine", ProtocolError: "protocol"}


@dataclass(frozen=True)
class ModelOptions:
    """Which model to load, and where. ``name`` is what events call it; None for ``model`` itself."""

    model: str
    name: str | None = None
    revision: str | None = None
    device: str = "auto"
    batch_size: int | None = None
    choice: Choice = field(default_factory=Choice)


def load(options: ModelOptions, emit: Emit) -> Transcriber:
    """Load a model, telling ``model`` events before and after.

    Raises:
        ModelUnavailableError: it can't be found, fetched or loaded.
        EngineUnavailableError: the engine that was chosen can't run here.
    """
    started = time.monotonic()

    def note(text: str) -> None:
        emit("note", text=text)

    from gputx_remote import weights  # noqa: PLC0415 - `hello` must not wait for imports

    location = weights.resolve(options.model, options.revision, note)
    said = {"model": options.name or location.id, "revision": location.revision}
    emit("model", state="loading", **said, device=None, dtype=None, seconds=0.0)
    # Seconds of imports: the client sees `loading` before them.
    from gputx_remote.engine import loading  # noqa: PLC0415

    engine = loading.load(location, options.choice, device=options.device, batch_size=options.batch_size, note=note)
    seconds = round(time.monotonic() - started, 3)
    emit("model", state="ready", **said, device=engine.device, dtype=engine.compute_type, seconds=seconds)
    return engine


def say_engines(emit: Emit, model: Path | None = None) -> None:
    """Say which engines can be chosen here, and what the machine is: the event ``engines``.

    Args:
        model: its directory; None, or a hub id, stands for a model of ordinary size.
    """
    protocol.hello(emit)
    from gputx_remote.engine import loading  # noqa: PLC0415 - `hello` must not wait for imports

    found = loading.offer(model if model is not None and model.is_dir() else None)
    emit(
        "engines",
        device=found.device,
        default=None if found.default is None else asdict(found.default),
        missing=found.missing,
        machine=machine.describe(found.device),
    )


def obey(lines: Iterable[bytes], engine: Transcriber, emit: Emit) -> bool:
    """Carry out commands until they end. True if the end was a ``quit``.

    Raises:
        ProtocolError: a line is no command.
        OSError: nobody listens to the events any more.
    """
    for command in protocol.commands(lines):
        if not isinstance(command, Transcribe):
            return True
        transcribe(command, engine, emit)
    return False


def transcribe(command: Transcribe, engine: Transcriber, emit: Emit) -> None:
    """Transcribe one file. Whatever is wrong with it becomes a ``failed`` event.

    Raises:
        OSError: nobody listens to the events any more.
    """
    from gputx_remote.audio.recording import Recording  # noqa: PLC0415 - `hello` must not wait for imports

    started = time.monotonic()
    try:
        recording = Recording.open(command.path)
        info: TranscriptionInfo | None = None
        duration = recording.duration_ms / 1000
        emit("started", id=command.id, duration=round(duration, 3))

        def progress(done: float, total: float) -> None:
            windows = 0 if info is None else info.windows
            emit("progress", id=command.id, done=round(done, 3), total=round(total, 3), windows=windows)

        segments, info = engine.transcribe(recording, command.options, progress=progress)
        for segment in segments:
            emit("segment", id=command.id, **segment_fields(segment))
    except AudioUnreadableError as error:
        emit("failed", id=command.id, kind="audio", error=str(error))
        return
    except EngineError as error:
        emit("failed", id=command.id, kind="engine", error=str(error))
        return
    emit(
        "finished",
        id=command.id,
        language=info.language,
        duration=round(duration, 3),
        processing_time=round(time.monotonic() - started, 3),
        windows=info.windows,
        decoded_again=info.decoded_again,
        suspect=info.suspect,
        silence=round(info.silence_ms / 1000, 3),
        memory=machine.peak_memory(),
        gpu_memory=machine.peak_gpu_memory(),
    )


def segment_fields(segment: Segment) -> dict[str, Any]:
    """A segment as the fields of its event; what is not known is left out."""
    fields: dict[str, Any] = {"start_ms": segment.start_ms, "end_ms": segment.end_ms, "text": segment.text}
    if segment.words:
        fields["words"] = [
            [word.start_ms, word.end_ms, word.text, round(word.probability, 4)] for word in segment.words
        ]
    if segment.tokens:
        fields["tokens"] = segment.tokens
    if segment.confidence is not None:
        fields["confidence"] = round(segment.confidence, 4)
    if segment.suspect:
        fields["suspect"] = True
    if segment.measure is not None:
        fields["measure"] = [round(value, 4) for value in astuple(segment.measure)]
    return fields


def fatal(error: ModelUnavailableError | EngineUnavailableError | ProtocolError, emit: Emit) -> int:
    """Say why the worker ends; return its exit status."""
    emit("fatal", kind=FATAL_KINDS[type(error)], error=str(error))
    return protocol.FATAL


def run(options: ModelOptions, lines: IO[bytes], emit: Emit) -> int:
    """A worker on stdin and stdout, from ``hello`` to its exit status."""
    try:
        protocol.hello(emit)
        try:
            obey(lines, load(options, emit), emit)
        except (ModelUnavailableError, EngineUnavailableError, ProtocolError) as error:
            return fatal(error, emit)
    except BrokenPipeError:
        print("the client has gone", file=sys.stderr)
        return 1
    return 0


def stdout_events() -> Emit:
    """Take stdout for events alone: whatever else prints from now on, in Python or C, goes to stderr."""
    sys.stdout.flush()
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def emit(event: str, /, **fields: Any) -> None:
        write_all(descriptor, protocol.encode(event, fields))

    return emit


def write_all(descriptor: int, data: bytes, write: Callable[[int, bytes], int] = os.write) -> None:
    """Write every byte, however little the other side takes at a time."""
    view = memoryview(data)
    while view:
        view = view[write(descriptor, view) :]  # type: ignore[arg-type] # os.write takes any buffer
