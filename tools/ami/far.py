"""A directory as if on a far disk: each piece of 512 KiB takes some milliseconds the first time, however many at once.

    python tools/ami/far.py SOURCE MOUNTPOINT MILLISECONDS        until it is unmounted; read-only

A stand-in for a volume made of a snapshot, whose blocks come from S3 when they are first read: it has the latency and
nothing else of one. Needs FUSE: `apt-get install libfuse2` and `pip install mfusepy`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from mfusepy import FUSE, Operations

PIECE = 512 * 1024
STAT = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid")


class Far(Operations):
    """Passes on what is below a directory."""

    use_ns = True

    def __init__(self, source: Path, seconds: float) -> None:
        self._source, self._seconds = source, seconds
        self._fetched: dict[tuple[str, int], threading.Event] = {}
        self._one = threading.Lock()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:  # noqa: ARG002
        found = os.lstat(f"{self._source}{path}")
        return {name: getattr(found, name) for name in STAT} | {"st_mtime": found.st_mtime_ns}

    def readdir(self, path: str, fh: int) -> list[str]:  # noqa: ARG002
        return [".", "..", *(entry.name for entry in os.scandir(f"{self._source}{path}"))]

    def readlink(self, path: str) -> str:
        return str(Path(f"{self._source}{path}").readlink())

    def open(self, path: str, flags: int) -> int:  # noqa: ARG002
        return os.open(f"{self._source}{path}", os.O_RDONLY)

    def release(self, path: str, fh: int) -> None:  # noqa: ARG002
        os.close(fh)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        for piece in range(offset // PIECE, (offset + max(size, 1) - 1) // PIECE + 1):
            self._fetch(path, piece)
        return os.pread(fh, size, offset)

    def _fetch(self, path: str, piece: int) -> None:
        with self._one:
            there = self._fetched.get((path, piece))
            first = there is None
            if there is None:
                there = self._fetched[path, piece] = threading.Event()
        if first:
            time.sleep(self._seconds)
            there.set()
        there.wait()


if __name__ == "__main__":
    far = Far(Path(sys.argv[1]).resolve(), float(sys.argv[3]) / 1000)
    FUSE(far, sys.argv[2], foreground=True, nonempty=True, ro=True, kernel_cache=True, entry_timeout=3600)
