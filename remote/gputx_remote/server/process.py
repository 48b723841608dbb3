"""How this process treats its memory and its threads, set before it has any."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""mallopt(3): parameters of glibc's malloc."""
ARENAS = 2
"""glibc gives each thread an arena of its own, up to eight for each core, and what one arena has freed no other uses. A
server whose jobs are threads would hold the most that each of them ever needed."""
LARGE_BYTES = 1 << 20
"""From this size on a block is mapped by itself, and given back when it is freed. Left alone glibc raises the limit to
32 MB with the first such block, and keeps what lies below it."""
SWITCH_SECONDS = 0.001
"""How long a thread may keep the interpreter while another waits for it: 5 ms by default, which /health would pay to
every thread that is counting samples."""


def prepare() -> None:
    """Set all of it. Where malloc is not glibc's it is left as it is."""
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_ARENA_MAX, ARENAS)
    mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(_TRIM_THRESHOLD, LARGE_BYTES)
