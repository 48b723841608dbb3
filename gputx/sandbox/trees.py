"""Removing a directory tree whose shape somebody else chose."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

log = logging.getLogger(__name__)

# Never across a mount: what is mounted in a guest's tree is this machine's, not the guest's.
_REMOVE = ("rm", "-rf", "--one-file-system") if sys.platform == "linux" else ("rm", "-rfx")


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it; none there is fine.

    ``shutil.rmtree`` calls itself once for each level, so a guest that nests a few thousand directories would
    end whoever uses it. ``rm`` goes to any depth.
    """
    if not os.path.lexists(path):
        return
    if os.geteuid() != 0:
        # A directory its owner may not write to would keep what is in it; for root that is no obstacle.
        subprocess.run(["chmod", "-R", "u+rwX", "--", str(path)], check=False, capture_output=True)
    removed = subprocess.run([*_REMOVE, "--", str(path)], check=False, capture_output=True, text=True)
    if removed.returncode:
        log.warning("%s could not be removed: %s", path, removed.stderr.strip()[-200:])


def discard_tree(path: Path) -> threading.Thread | None:
    """Take a directory out of sight at once, and remove it on a thread of its own; None where there is none.

    A tree can take long to remove, and who gives it up may hold a lock that others wait for.
    """
    if not path.is_dir():
        return None
    grave = Path(tempfile.mkdtemp(dir=path.parent, prefix=".discarded-"))
    with contextlib.suppress(OSError):  # then it is removed where it is, later than asked for
        path.rename(grave / path.name)
    thread = threading.Thread(target=_remove_all, args=(grave, path), name=f"discard-{path.name}")
    thread.start()
    return thread


def _remove_all(*trees: Path) -> None:
    for tree in trees:
        remove_tree(tree)
