"""Transcripts on disk: names that never collide, files that appear whole, nothing of the person's overwritten."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gputx.errors import GputxError, InputError
from gputx.workflows.inputs import Source
from gputx_remote import writers
from gputx_remote.transcript import Transcript


def formats(words: Sequence[str]) -> tuple[str, ...]:
    """Check format names; ``all`` means every one.

    Raises:
        InputError: for a name that is no format.
    """
    chosen: dict[str, None] = {}
    for word in (word.lower() for word in words):
        if word != "all" and word not in writers.FORMATS:
            raise InputError(
                f"{word!r} is no output format", hint=f"one or more of {', '.join(writers.FORMATS)}, or all"
            )
        chosen.update(dict.fromkeys(writers.FORMATS if word == "all" else (word,)))
    return tuple(chosen)


def stems(sources: Sequence[Source]) -> list[str]:
    """A name without suffix for each source's outputs, unique within the call.

    ``a.mp3`` becomes ``a``; beside ``a.wav`` both keep their suffix; two of the same name get a number.
    """
    plain = [source.stem for source in sources]
    full = [source.stem if source.path is None else source.path.name for source in sources]
    names: list[str] = []
    for stem, name in zip(plain, full, strict=True):
        same = [other for other_stem, other in zip(plain, full, strict=True) if other_stem == stem]
        base = name if len(set(same)) > 1 else stem
        candidate, number = base, 2
        while candidate in names:
            candidate, number = f"{base}-{number}", number + 1
        names.append(candidate)
    return names


def check_directory(directory: Path) -> None:
    """Make the output directory and see that it can be written to, before anything is launched.

    Raises:
        InputError: it can't.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return
    except OSError as error:
        raise InputError(f"{directory} can't be written to: {error.strerror}", hint="choose another with -o") from None


def write(
    transcript: Transcript,
    *,
    directory: Path,
    stem: str,
    chosen: Sequence[str],
    options: writers.WriterOptions | None = None,
    title: str = "",
) -> list[Path]:
    """Write one file per format. An older file of other content is kept as ``NAME.~1~`` (``~2~``, …).

    Args:
        options: as :func:`gputx_remote.writers.render` takes them, like ``title``.

    Raises:
        GputxError: the disk is full or the directory has gone; what was written before stays.
    """
    return [
        save(writers.render(transcript, name, options, title=title), directory / f"{stem}.{name}") for name in chosen
    ]


def save(text: str, path: Path) -> Path:
    """Put ``text`` at ``path`` so that the file is there whole or not at all. Raises GputxError."""
    data = text.encode("utf-8")
    try:
        if path.exists() and path.read_bytes() == data:
            return path
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".gputx-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o666 & ~_umask())
            # The old one moves only now: a full disk has been noticed by then.
            if path.exists():
                path.rename(_free_backup(path))
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise GputxError(
            f"{path} could not be written: {error.strerror}",
            hint="make room, or choose another directory with -o",
        ) from None
    return path


def _free_backup(path: Path) -> Path:
    """The next free numbered backup name, as GNU cp --backup=numbered makes them."""
    number = 1
    while (candidate := path.with_name(f"{path.name}.~{number}~")).exists():
        number += 1
    return candidate


def _umask() -> int:
    """The process's umask. There is no call that only reads it; gputx writes files from one thread at a time."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
