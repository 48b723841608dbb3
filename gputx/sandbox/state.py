"""Where a sandbox keeps itself on disk, and the lock that lets one daemon at a time own the place.

``daemon.json`` (mode 0600: it holds the keys), ``daemon.log``, ``clock``, ``images/<ami-id>/``,
``guests/<instance-id>/`` and, written by clients, ``journals/<access key>/``. The lock is held for as long as the
daemon lives, so it tells a live daemon from a stale file whatever killed the last one.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import platformdirs

from gputx.sandbox.trees import remove_tree

DIRECTORY_VARIABLE = "GPUTX_SANDBOX_DIR"
# Whoever only asks whether the directory is owned holds the lock for an instant; a daemon waits that out.
_PROBE_SECONDS = 0.5


def default_directory() -> Path:
    """``GPUTX_SANDBOX_DIR`` if set, else ``sandbox`` in the user's state directory."""
    if named := os.environ.get(DIRECTORY_VARIABLE):
        return Path(named).absolute()
    return platformdirs.user_state_path("gputx") / "sandbox"


class StateDirectory:
    """The paths of one sandbox."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = (path or default_directory()).absolute()
        self.description = self.path / "daemon.json"
        self.log = self.path / "daemon.log"
        self.clock = self.path / "clock"
        self.images = self.path / "images"
        self.guests = self.path / "guests"
        self.journals = self.path / "journals"
        self._lock_file = self.path / "lock"

    def create(self) -> None:
        """Make the directory where there is none."""
        self.path.mkdir(parents=True, exist_ok=True)

    def lock(self) -> IO[str] | None:
        """Own this directory until the returned file is closed or the process ends; None if another does."""
        deadline = time.monotonic() + _PROBE_SECONDS
        while (file := self._try_lock(fcntl.LOCK_EX)) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return file

    @property
    def owned(self) -> bool:
        """Whether a daemon is alive here."""
        if not self._lock_file.exists():
            return False
        file = self._try_lock(fcntl.LOCK_SH)
        if file is None:
            return True
        file.close()
        return False

    def _try_lock(self, kind: int) -> IO[str] | None:
        file = self._lock_file.open("a")
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def clear(self) -> None:
        """Forget the last daemon's account: its images, its guests' disks, how far its clock was turned."""
        for directory in (self.images, self.guests, self.journals):
            remove_tree(directory)
        for file in (self.clock, self.description):
            file.unlink(missing_ok=True)

    def describe(self, description: dict[str, Any]) -> None:
        """Publish how to reach the daemon, in one step and for its owner's eyes only."""
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=".daemon-")  # mkstemp makes it 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(description, file, indent=2)
        Path(temporary).replace(self.description)

    def read_description(self) -> dict[str, Any] | None:
        """What the daemon that owns this directory published; None where none does."""
        if not self.owned:
            return None
        try:
            description: dict[str, Any] = json.loads(self.description.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None  # it is starting, or on its way out
        return description
