"""An end by signal: at once, from wherever the worker is, leaving no file behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

_leftovers: set[Path] = set()


def install() -> None:
    """Let SIGTERM and SIGINT end this process with status 128 + signal."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _end)


def remove_at_end(path: Path) -> None:
    """Have a file removed when a signal ends this process."""
    _leftovers.add(path)


def keep_at_end(path: Path) -> None:
    """Forget a file: it has been removed, or is no longer ours."""
    _leftovers.discard(path)


def _end(signum: int, _frame: FrameType | None) -> None:
    # No exception: one that is raised in the middle of an import or a finaliser can get lost, and then the
    # worker lives on. torch takes seconds to import, so this was seen.
    for path in _leftovers:
        path.unlink(missing_ok=True)
    os._exit(128 + signum)
