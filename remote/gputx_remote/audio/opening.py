"""Opening a file as audio, with whichever decoder reads it best.

libsndfile reads what it reads well; FFmpeg (PyAV) the rest, and MP3: libmpg123 gives up at the first damaged
stretch and writes to stderr, FFmpeg carries on behind it.

Both get a file descriptor and never a name, and FFmpeg may open nothing else (protocol ``fd``, a list of
plain containers): a playlist or a URL inside an upload leads nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gputx_remote.audio import sndfile
from gputx_remote.audio.source import AudioInfo, Source
from gputx_remote.errors import AudioUnreadableError


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a file as audio.

    Raises:
        AudioUnreadableError: it is not a readable, non-empty regular file with an audio track.
    """
    descriptor = _descriptor(path)
    try:
        with source_of(descriptor) as source:
            yield source
    finally:
        os.close(descriptor)


def probe(path: Path) -> AudioInfo:
    """Read a file's header only.

    Raises:
        AudioUnreadableError: it is not a readable, non-empty regular file with an audio track.
    """
    with open_source(path) as source:
        if source.info.duration_ms == 0:
            raise AudioUnreadableError("it holds no sound (a valid header and 0 samples)")
        return source.info


def _descriptor(path: Path) -> int:
    try:
        # Without O_NONBLOCK, opening a named pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise AudioUnreadableError("there is no such file") from None
    except PermissionError:
        raise AudioUnreadableError("no permission to read it") from None
    except OSError as error:
        raise AudioUnreadableError(f"it can't be opened: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name
        raise AudioUnreadableError(f"it can't be opened: {error}") from error
    status = os.fstat(descriptor)
    problem = None
    if stat.S_ISDIR(status.st_mode):
        problem = "it is a directory"
    elif not stat.S_ISREG(status.st_mode):
        problem = "it is not a regular file"
    elif status.st_size == 0:
        problem = "the file is empty (0 bytes)"
    if problem:
        os.close(descriptor)
        raise AudioUnreadableError(problem)
    return descriptor


@contextmanager
def source_of(descriptor: int) -> Iterator[Source]:
    """Read an open, seekable descriptor as audio; it stays the caller's to close.

    Raises:
        AudioUnreadableError: it is no audio or video, or has no audio track.
    """
    opened: Any = sndfile.open_descriptor(descriptor)
    if opened is None:
        # A quarter of a second of imports, for those who need it.
        from gputx_remote.audio import ffmpeg  # noqa: PLC0415

        opened = ffmpeg.open_descriptor(descriptor)
    with opened as source:
        yield source
