"""The worker: loads a model once, then turns each file it is asked for into events."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from gputx_remote import protocol
from gputx_remote.errors import AudioUnreadableError, EngineError, ModelUnavailableError, ProtocolError
from gputx_remote.protocol import Emit, Transcribe

if TYPE_CHECKING:
    from gputx_remote.engine.transcriber import Transcriber


@dataclass(frozen=True)
class ModelOptions:
    """Which model to load, and where. ``name`` is what events call it; None for ``model`` itself."""

    model: str
    name: str | None = None
    revision: str | None = None
    device: str = "auto"
    batch_size: int | None = None


def load(options: ModelOptions, emit: Emit) -> Transcriber:
    """Load a model, telling ``model`` events before and after.

    Raises:
        ModelUnavailableError: it can't be found, fetched or loaded.
    """
    started = time.monotonic()

    def note(text: str) -> None:
        emit("note", text=text)

    from gputx_remote import weights  # noqa: PLC0415 - `hello` must not wait for imports

    location = weights.resolve(options.model, options.revision, note)
    said = {"model": options.name or location.id, "revision": location.revision}
    emit("model", state="loading", **said, device=None, dtype=None, seconds=0.0)
    # Seconds of imports: the client sees `loading` before them.
    from gputx_remote.engine import reference  # noqa: PLC0415

    engine = reference.load(location, device=options.device, batch_size=options.batch_size, note=note)
    seconds = round(time.monotonic() - started, 3)
    emit("model", state="ready", **said, device=engine.device, dtype=engine.dtype, seconds=seconds)
    return engine


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
    from gputx_remote import audio  # noqa: PLC0415 - `hello` must not wait for imports

    try:
        samples = audio.read(command.path)
    except AudioUnreadableError as error:
        emit("failed", id=command.id, kind="audio", error=str(error))
        return
    duration = len(samples) / audio.SAMPLE_RATE
    emit("started", id=command.id, duration=round(duration, 3))
    started = time.monotonic()

    def progress(done: float, total: float) -> None:
        emit("progress", id=command.id, done=round(done, 3), total=round(total, 3))

    segments, info = engine.transcribe(samples, command.options, progress=progress)
    try:
        for segment in segments:
            emit("segment", id=command.id, start_ms=segment.start_ms, end_ms=segment.end_ms, text=segment.text)
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
    )


def fatal(error: ModelUnavailableError | ProtocolError, emit: Emit) -> int:
    """Say why the worker ends; return its exit status."""
    emit("fatal", kind="model" if isinstance(error, ModelUnavailableError) else "protocol", error=str(error))
    return protocol.FATAL


def run(options: ModelOptions, lines: IO[bytes], emit: Emit) -> int:
    """A worker on stdin and stdout, from ``hello`` to its exit status."""
    try:
        protocol.hello(emit)
        try:
            obey(lines, load(options, emit), emit)
        except (ModelUnavailableError, ProtocolError) as error:
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
