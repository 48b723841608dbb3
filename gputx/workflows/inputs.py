"""From what was typed (files, directories, globs, ``-``) to the recordings of a run."""

from __future__ import annotations

import glob
import os
import select
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gputx.clock import Stop

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("aac", "aif", "aiff", "amr", "au", "caf", "flac", "m4a", "m4b", "mka", "mp2", "mp3", "oga", "ogg"),
        *("opus", "wav", "weba", "wma"),
        *("3gp", "avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv"),
    )
)
"""What a directory is searched for. A file that is named is tried whatever its suffix."""

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Source:
    """One input as a person knows it. ``problem`` is set where there is nothing to read."""

    name: str
    path: Path | None
    stem: str
    problem: str | None = None

    @property
    def title(self) -> str:
        """Its name without the directories."""
        return Path(self.name).name


def collect(arguments: Sequence[str], scratch: Path, stop: Stop) -> list[Source]:
    """Expand the arguments, in order, each recording once.

    Args:
        scratch: where standard input is kept while it is needed.
    """
    sources: list[Source] = []
    seen: set[Path] = set()
    for argument in arguments:
        for source in _expand(argument, scratch, stop):
            identity = source.path.resolve() if source.path else None
            if identity is None or identity not in seen:
                sources.append(source)
            if identity is not None:
                seen.add(identity)
    return sources


def _expand(argument: str, scratch: Path, stop: Stop) -> Iterator[Source]:
    if argument == "-":
        yield _standard_input(scratch, stop)
        return
    path = Path(argument)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        yield from _sources(found)
        if not found:
            yield Source(argument, None, path.name, "the directory holds no audio files")
    elif path.exists() or path.is_symlink():
        yield _source(path)
    elif glob.has_magic(argument):
        # glob, not Path.glob: an absolute pattern is as good as a relative one here.
        matches = glob.glob(argument, recursive=True)  # noqa: PTH207
        found = sorted(Path(name) for name in matches if Path(name).is_file())
        yield from _sources(found)
        if not found:
            yield Source(argument, None, path.stem, "no file matches")
    else:
        yield Source(argument, None, path.stem, "there is no such file")


def _sources(paths: Iterable[Path]) -> Iterator[Source]:
    return (_source(path) for path in paths)


def _source(path: Path) -> Source:
    if not path.exists():
        return Source(str(path), None, path.stem, "it is a link to nothing")
    if not path.is_file():
        return Source(str(path), None, path.stem, "it is not a regular file")
    if not os.access(path, os.R_OK):
        return Source(str(path), None, path.stem, "permission denied")
    return Source(str(path), path, path.stem)


def _standard_input(scratch: Path, stop: Stop) -> Source:
    """Keep standard input in a file: decoders need to seek."""
    target = scratch / "stdin"
    descriptor = sys.stdin.fileno()
    with target.open("wb") as file:
        while True:
            # A read would wait for ever on a terminal where nobody types, and no signal wakes it.
            ready, _, _ = select.select([descriptor], [], [], _POLL_SECONDS)
            stop.check()
            if ready:
                if not (block := os.read(descriptor, 1 << 20)):
                    break
                file.write(block)
    return Source("-", target, "stdin")
