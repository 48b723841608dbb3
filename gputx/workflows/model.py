"""Which model a run uses, pinned by hash from its first use on.

The first run that uses a Hugging Face id records the commit it was resolved to; every later run asks for just
that commit, so a text made next year comes from the same weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from gputx.errors import ConfigurationError, InputError
from gputx_remote.engine.choice import Choice

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Engine:
    """What runs the model, and how many windows at once; None for what memory has room for."""

    choice: Choice = field(default_factory=Choice)
    batch_size: int | None = None
    device: str = "auto"
    """"cuda", "cpu", or "auto" for CUDA where there is one."""

    @property
    def arguments(self) -> list[str]:
        """Command-line words for the worker; what is left to it is not said."""
        words: list[str] = []
        for flag, value in (
            ("--algorithm", self.choice.algorithm),
            ("--decoder", self.choice.decoder),
            ("--compute-type", self.choice.compute_type),
            ("--device", self.device),
        ):
            words += [] if value == "auto" else [flag, value]
        return words + ([] if self.batch_size is None else ["--batch-size", str(self.batch_size)])


@dataclass(frozen=True)
class ModelChoice:
    """A model by hub id at a commit, or by directory.

    ``location`` is what the worker opens: an id, or a path where the worker runs. ``upload`` is a directory here
    that has to be sent to ``location`` first.
    """

    name: str
    location: str
    revision: str | None
    upload: Path | None = None
    engine: Engine = field(default_factory=Engine)

    @property
    def from_hub(self) -> bool:
        """Whether it is named by its id, so that its revision can be pinned."""
        return self.location == self.name and self.upload is None

    @property
    def arguments(self) -> list[str]:
        """Command-line words for the worker."""
        words = ["--model", self.location, "--model-name", self.name]
        pinned = [*words, "--revision", self.revision] if self.revision else words
        return [*pinned, *self.engine.arguments]


def choose(model: str, pins: Pins, *, elsewhere: bool, engine: Engine) -> ModelChoice:
    """What ``--model`` means, for a worker here or ``elsewhere``.

    Raises:
        InputError: there is no such directory, and it is no hub id either.
        ConfigurationError: the pinned revisions can't be read.
    """
    directory = directory_of(model)
    if directory is None:
        return ModelChoice(model, model, pins.revision(model), engine=engine)
    if not elsewhere:
        return ModelChoice(directory.name, str(directory), None, engine=engine)
    location = f"gputx/models/{_digest(directory)[:16]}"
    return ModelChoice(directory.name, location, None, upload=directory, engine=engine)


def _digest(directory: Path) -> str:
    weights = directory / "model.safetensors"
    if not weights.is_file():
        raise InputError(f"{directory} holds no model.safetensors", hint="gputx loads safetensors only")
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory_of(model: str) -> Path | None:
    """The directory that ``model`` names, or None for a hub id.

    Raises:
        InputError: it is neither.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{model} holds no Whisper model", hint="it has to hold config.json and model.safetensors")
        return path.resolve()
    if not _HUB_ID.fullmatch(model) or model.startswith((".", "-")):
        raise InputError(
            f"there is no model {model!r}",
            hint="name a directory, or a Hugging Face id like KBLab/kb-whisper-small",
        )
    return None


class Pins:
    """The revisions that were resolved, in one small file of the user's state directory."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def revision(self, model: str) -> str | None:
        """The pinned commit. Raises ConfigurationError where the file can't be read."""
        return self._read().get(model)

    def record(self, model: str, revision: str) -> bool:
        """Pin ``model`` unless it is pinned already; True where this call pinned it."""
        pins = self._read()
        if model in pins:
            return False
        pins[model] = revision
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(pins, file, indent=2, sort_keys=True)
        Path(temporary).replace(self._file)
        return True

    def _read(self) -> dict[str, str]:
        if not self._file.exists():
            return {}
        try:
            pins = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the pinned model revisions in {self._file} can't be read: {error}",
                hint="mend or delete the file",
            ) from None
        return {str(model): str(revision) for model, revision in pins.items()}
