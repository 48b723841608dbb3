"""A launched instance as a bench: the payload is on it, audio goes over SSH, the worker answers in lines."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gputx.ssh.errors import ChannelClosedError, IntegrityError, UploadError
from gputx.ssh.payload import Payload
from gputx.workflows.hosts import DeliveryError
from gputx.workflows.model import Engine, ModelChoice
from gputx.workflows.worker import WorkerEndedError

if TYPE_CHECKING:
    from gputx.ssh.connection import Connection, Stream

PYTHON = '"${TRANSCRIBE_ROOT:-/opt/transcribe}/venv/bin/python"'
_SOCKET = "gputx/worker.sock"
_FILES = ("config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json",
          "processor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
          "normalizer.json", "added_tokens.json", "special_tokens_map.json")  # fmt: skip
"""What of a model's directory is sent to an instance: the layout Hugging Face gives a Whisper model."""

IMAGE_MODEL = "@image"
"""Stands for the directory of the model inside the image, which only the instance's shell can spell."""


def worker_command(verb: str, payload: Payload, model: ModelChoice) -> str:
    """Shell words that run the payload on an instance, from the login user's home.

    Args:
        verb: ``serve`` or ``attach`` of docs/contracts.md.
    """
    words = [spelled(word) for word in model.arguments]
    return " ".join([PYTHON, f"gputx/{payload.name}", verb, "--socket", _SOCKET, *words])


def spelled(word: str) -> str:
    """A word of a command for the instance's shell."""
    return '"${TRANSCRIBE_ROOT:-/opt/transcribe}/models/default"' if word == IMAGE_MODEL else shlex.quote(word)


def ensure_payload(connection: Connection, payload: Payload) -> None:
    """Send the payload unless the instance has it, whole, from its boot. Raises GputxError."""
    path = f"gputx/{payload.name}"
    line = f"{payload.sha256}  {path}\n".encode()
    if connection.run("sha256sum --check --status -", input=line).exit_status != 0:
        connection.upload_bytes(payload.data, path)


def send_model(connection: Connection, model: ModelChoice) -> None:
    """Send the model's files where it is one of the person's own. Raises GputxError."""
    if model.upload is None:
        return
    for name in _FILES:
        if (model.upload / name).is_file():
            connection.upload(model.upload / name, f"{model.location}/{name}")


class InstanceBench:
    """Implements :class:`gputx.workflows.hosts.Bench`."""

    def __init__(self, connection: Connection, payload: Payload, model: ModelChoice, look: Callable[[], None]) -> None:
        """``look`` raises InstanceLostError where the account shows the instance ending."""
        self._connection = connection
        self._look = look
        self._payload = payload
        self._model = model
        self._model_is_there = False

    def start_worker(self) -> InstanceStream:
        ensure_payload(self._connection, self._payload)
        self._bring_model()
        return InstanceStream(
            self._connection.open_stream("exec " + worker_command("attach", self._payload, self._model))
        )

    def _bring_model(self) -> None:
        """Send the model's files where it is one of the person's own; once, however many workers open it."""
        if not self._model_is_there:
            send_model(self._connection, self._model)
            self._model_is_there = True

    def running(self, engine: Engine) -> Self:
        other = copy.copy(self)
        other._model = replace(self._model, engine=engine)
        return other

    def engines(self) -> InstanceStream:
        ensure_payload(self._connection, self._payload)
        self._bring_model()
        asked = f"gputx/{self._payload.name} engines --model {spelled(self._model.location)}"
        return InstanceStream(self._connection.open_stream(f"exec {PYTHON} {asked}"))

    def deliver(self, audio: Path, progress: Callable[[int, int], None]) -> str:
        remote = f"gputx/in/{audio.name}"
        try:
            self._connection.upload(audio, remote, progress=progress)
        except (UploadError, IntegrityError) as error:
            raise DeliveryError(error.message, hint=error.hint) from error
        return remote

    def check(self) -> None:
        """Ask the account and the machine itself, for two seconds: a worker dies a moment before its instance does."""
        for _ in range(4):
            self._look()
            self._connection.run("sleep 0.5")


class InstanceStream:
    """Implements :class:`gputx.workflows.worker.LineStream` over an SSH channel."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write_line(self, line: str) -> None:
        try:
            self._stream.write_line(line)
        except ChannelClosedError as error:
            raise WorkerEndedError(f"the worker has ended ({self.epitaph()})") from error

    def lines(self) -> Iterator[str]:
        return self._stream.lines()

    def close(self) -> None:
        self._stream.close()

    def epitaph(self) -> str:
        status = self._stream.exit_status
        last = next((line.strip() for line in reversed(self._stream.stderr.splitlines()) if line.strip()), "")
        how = {None: "its output ended", -1: "killed"}.get(status, f"exit status {status}")
        return f"{how}: {last}" if last else how
