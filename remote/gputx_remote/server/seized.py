"""A state directory is one process's: a second one would delete what the first is receiving, and do its jobs again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"


class TakenError(Exception):
    """Another process has it."""


@contextmanager
def seized(directory: Path) -> Iterator[None]:
    """The directory, which is made where it is missing, for a block; the kernel lets go of it however the process ends.

    Raises:
        TakenError: another process has it.
        OSError: nothing can be written there.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TakenError(
                f"another server keeps its jobs in {directory}: end it, or use another directory"
            ) from None
        yield
    finally:
        os.close(descriptor)
