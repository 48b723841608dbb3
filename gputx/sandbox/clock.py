"""One clock for control plane, client and guests: real time plus an offset kept in a file.

The file holds one line, the offset in seconds as an ASCII decimal number, and is replaced atomically. Whoever
can read the file shares the clock, in whatever language: virtual time is real time plus the offset.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from gputx.clock import Stop

# How late a sleeper may notice that the clock was turned.
NOTICE_SECONDS = 0.05


def read_offset(path: Path) -> float:
    """Seconds the sandbox's clock is ahead of real time; 0.0 where it was never turned.

    Raises:
        ValueError: the file does not hold a number.
    """
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return 0.0
    return float(text)


def write_offset(path: Path, seconds: float) -> None:
    """Replace the file in one step, so that no reader ever sees half a number."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{seconds!r}\n")
    # A guest may read the clock as another user than the one who owns the sandbox.
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


class SandboxClock:
    """The :class:`gputx.clock.Clock` of everything inside one sandbox.

    Args:
        path: the offset file, shared by every process of the sandbox.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0.0
        self._seen: tuple[int, int] | None = None

    @property
    def offset(self) -> float:
        """Seconds ahead of real time. Costs one ``stat`` unless the clock was turned since the last call."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return self._offset
        # A replaced file is another inode, so this sees a turn within one tick of the file system's clock.
        version = (status.st_ino, status.st_mtime_ns)
        if version != self._seen:
            self._offset = read_offset(self._path)
            self._seen = version
        return self._offset

    def time(self) -> float:
        """Seconds since the epoch on the sandbox's clock."""
        return time.time() + self.offset

    def monotonic(self) -> float:
        """Seconds that have passed on the sandbox's clock, from any start."""
        return time.monotonic() + self.offset

    def sleep(self, seconds: float, stop: Stop | None = None) -> None:
        """Wait until ``time()`` has moved on by ``seconds``, because time passed or the clock was turned.

        Raises:
            InterruptedBySignal: when ``stop`` is requested meanwhile.
        """
        end = self.time() + seconds
        while (left := end - self.time()) > 0:
            if stop is None:
                time.sleep(min(left, NOTICE_SECONDS))
            elif stop.wait(min(left, NOTICE_SECONDS)):
                stop.check()
        if stop is not None:
            stop.check()
